"""An IMAP server in memory and a sample mailbox, for people without an account at hand."""
