"""What has become of a job, for people and machines: its `Summary`, how it is made, and one file for each form of it.

`status` renders how a job stands at this moment.
"""
