"""For people without an account at hand: an IMAP server in memory, and sample mail.

`story` is `backfill demo`. `server`, `store` and `mime` serve the mails; `mailbox` and `unseen` are sets of labelled
mails; `compose` puts a mail's bytes together; `texts` holds what the mails say. Only `backfill demo`, `backfill
evaluate` and tests use this package.
"""
