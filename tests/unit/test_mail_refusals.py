"""What people read when the mail server refuses: its words, and nothing of how Python writes them."""

from __future__ import annotations

import pytest
from imapclient.exceptions import IMAPClientError

from backfill.mail.errors import translated


@pytest.mark.parametrize(
    ("raised", "read"),
    [
        ("b'[AUTHENTICATIONFAILED] Authentication failed.'", "[AUTHENTICATIONFAILED] Authentication failed."),
        ("FETCH command error: BAD [b'Unknown parameter: FOO']", "FETCH command error: BAD Unknown parameter: FOO"),
        ("""b"Mailbox doesn't exist: Nope\"""", "Mailbox doesn't exist: Nope"),
        ("select failed: Mailbox doesn't exist: Nope", "select failed: Mailbox doesn't exist: Nope"),
        (
            "b'Unknown argument FOO'\n\nThis error may have been caused by a syntax error in the criteria: ['FOO']",
            "Unknown argument FOO",
        ),
        ("b'", "b'"),
        ("Club's rules [b]'s", "Club's rules [b]'s"),
    ],
)
def test_a_refusal_is_told_in_the_server_s_words(raised: str, read: str) -> None:
    assert str(translated(IMAPClientError(raised), "mail.example.org", 993)) == f"The mail server refuses: {read}"
