"""The mail server, through imapclient: `imap.ImapSource` reads, `mark.ImapMarker` marks, `login.connect` logs in.

The one folder that knows imapclient. From the wire upwards: login · trouble · session · survey · fetch · mark;
from bytes to text, pure: structure · text · html · quotes · headers · mime.
"""
