"""For people without an account at hand: an IMAP server in memory, a sample mailbox, and the story of `backfill demo`.

`texts/` holds what the sample mails say. Only `backfill demo`, `backfill evaluate` and tests use this package.
"""
