"""What each command does, without a terminal: one file a command, and the steps that commands share.

Nothing here prints, reads standard input or exits: sentences and questions go through `parts.Audience`.
"""
