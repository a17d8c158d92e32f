"""Everything that a run waits for, one file for each limit.

`calls` (pace and blocks) · `budget` (money, and the day's number of calls) · `mail` (bytes a day of an account) ·
`gates` (hours, pauses) · `patience` (a mail server that asks to wait).
"""
