"""The mail server, through imapclient: `source.ImapSource` reads, `marker.ImapMarker` marks, `login.connect` logs in.

The one folder that knows imapclient. From the wire upwards: wire · refusals · errors · login · replies · search ·
session · survey · sections · fetch · marker; from bytes to text, pure: structure · passages · charsets · text · html
(styles, colours, hidden) · quotes · addresses · dates · headers · calendars · mime.
"""
