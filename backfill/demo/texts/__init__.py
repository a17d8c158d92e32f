"""What the sample mails say: texts, and the makers that turn them into mails; one file a kind of mail."""
