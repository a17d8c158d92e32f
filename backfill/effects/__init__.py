"""The outputs: what is done in the world because of a verdict, one output a file.

`flags` sets IMAP keywords, `notes` writes Markdown files, `webhook` posts JSON. A file's name is the name of its output
in the settings, in reports and in receipts. Each obeys `ports.Effect`.
"""
