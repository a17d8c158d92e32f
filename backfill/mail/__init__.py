"""The mail server, through imapclient: `imap.ImapSource` reads, `mark.ImapMarker` marks, `login.connect` logs in.

The one folder that knows imapclient. From the wire upwards: login · trouble · session · survey · fetch · mark;
from bytes to text, pure: structure · passages · charsets · text · html (styles, colours, hidden) · quotes · addresses ·
dates · headers · calendars · mime.
"""
