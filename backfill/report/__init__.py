"""What has become of a job, for people and machines: one file for each form of the figures.

`text`, `markdown` and `html` render the `Summary` that the ledger has read, with the words of `lines` and the
bars of `charts`; `render` chooses the form. `status` renders how a job stands at this moment.
"""
