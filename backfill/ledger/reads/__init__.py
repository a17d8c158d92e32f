"""Figures for people, read from the ledger: one file for each question. Only the repair of `audit` writes.

`report` (what has become of a job) · `answers` (what was answered about its mails, and the labels that follow) ·
`status` (a job at this moment) · `rates` (how fast it was lately) · `audit` (do the tables agree) · `export` (every
verdict of a job with its mail).
"""
