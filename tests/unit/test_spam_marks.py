"""The receiving server's own word on spam, whichever filter wrote it."""

from __future__ import annotations

import pytest

from backfill.mail.headers import FIELDS
from backfill.mail.mime import Reading, whole


@pytest.mark.parametrize(
    ("headers", "marked"),
    [
        ("X-Spam-Flag: YES", True),
        ("X-Spam-Flag: NO", False),
        ("X-Spam-Flag: True", True),
        ("X-Spam-Status: Yes, score=9.1 required=5.0 tests=BAYES_99", True),
        ("X-Spam-Status: Yes, hits=6.5\r\n\trequired=5.0", True),
        ("X-Spam-Status: No, score=-1.9 required=5.0 tests=YES", False),
        ("X-Spam: Yes", True),
        ("X-MS-Exchange-Organization-SCL: 5", True),
        ("X-Ms-Exchange-Organization-Scl: 9", True),
        ("X-MS-Exchange-Organization-SCL: 4", False),
        ("X-MS-Exchange-Organization-SCL: 1", False),
        ("X-MS-Exchange-Organization-SCL: -1", False),
        ("X-Forefront-Antispam-Report: CIP:192.0.2.1;CTRY:US;LANG:en;SCL:9;SRV:;IPV:NLI;SFV:SPM", True),
        ("X-Forefront-Antispam-Report: CIP:192.0.2.1;CTRY:US;LANG:en;SCL:1;SRV:;IPV:NLI;SFV:NSPM", False),
        ("X-Forefront-Antispam-Report: CIP:192.0.2.1;SCL:-1;SFV:SKN", False),
        ("X-Spam-Flag: NO\r\nX-MS-Exchange-Organization-SCL: 6", True),
        ("X-Spam-Status: Yes, score=7\r\nX-MS-Exchange-Organization-SCL: -1", True),
        ("X-Spam-Flag:", None),
        ("X-Spam-Flag: yesterday", None),
        ("X-MS-Exchange-Organization-SCL: high", None),
        ("X-MS-Exchange-Organization-SCL: 50", None),
        ("X-Forefront-Antispam-Report: CIP:192.0.2.1;CTRY:US", None),
        ("X-Forefront-Antispam-Report-Untrusted: SCL:9", None),
        ("X-Other: yes", None),
    ],
)
def test_the_servers_word_on_spam_is_read_whichever_filter_wrote_it(headers: str, marked: bool | None) -> None:
    raw = f"From: a@example.org\r\n{headers}\r\n\r\nHello.".encode()

    assert whole(raw, len(raw), Reading()).marked_spam is marked


def test_every_header_that_is_read_for_it_is_also_fetched() -> None:
    assert {"X-SPAM-FLAG", "X-SPAM-STATUS", "X-MS-EXCHANGE-ORGANIZATION-SCL"} <= set(FIELDS)
