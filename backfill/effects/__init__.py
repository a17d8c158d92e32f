"""The outputs: what is done in the world because of a verdict, one output a file.

`flags` sets IMAP keywords, `notes` writes Markdown files. Each obeys `ports.Effect`.
"""
