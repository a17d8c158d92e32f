"""What the sample mails say."""
