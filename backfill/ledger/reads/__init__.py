"""Figures for people, read from the ledger: one file a question. Nothing here writes."""
