"""What has become of a job, for people and machines: one file for each form of the figures.

`figures` reads a `Summary` from the ledger. `text`, `markdown` and `html` render it, with the words of `lines`;
`render` chooses the form. `status` renders how a job stands at this moment.
"""
