"""The mail server, through imapclient: `source.ImapSource` reads, `marker.ImapMarker` marks, `login.connect` logs in.

Only this folder imports imapclient. From the wire upwards: wire · client · refusals · errors · password_command ·
login · folder_names · replies · search · session · uidset · positions · survey · sections · seen_guard · fetch ·
marker · source. From bytes to text, pure: structure · passages · charsets · text · html (styles, colours, hidden) ·
quotes · addresses · dates · spam_marks · headers · calendars · mime.
"""
