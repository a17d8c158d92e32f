"""What a job has come to, for people and machines: one summary, rendered as text, Markdown, HTML and JSON."""
