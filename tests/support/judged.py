"""Judged mails, for tests of what happens after the verdict."""

from __future__ import annotations

from datetime import UTC, datetime

from backfill.message import Content, MailboxKey, Message, MessageRef
from backfill.ports import Judged
from backfill.verdict import Scores, Verdict

INBOX = MailboxKey("owner@example.org", "INBOX", 7)
RECEIVED = datetime(2024, 5, 3, 9, 30, tzinfo=UTC)


def judged(
    uid: int,
    *labels: str,
    flags_before: frozenset[str] = frozenset(),
    mailbox: MailboxKey = INBOX,
    subject: str = "Your invoice",
    body: str = "Dear owner,\nplease pay.",
    sent_at: datetime | None = RECEIVED,
    received_at: datetime | None = RECEIVED,
) -> Judged:
    """One mail with a verdict and the text that a note is made of."""
    ref = MessageRef(mailbox, uid)
    content = Content(subject=subject, sender="Jo Doe <jo@example.com>", to=("owner@example.org",), body=body)
    message = Message(ref, content, flags_before, received_at, sent_at, len(body), f"<{uid}@example.com>")
    verdict = Verdict(uid, message.key, Scores.of(importance=8, spam=1), "chat", "a-model", "", False)
    return Judged(ref, verdict, labels, flags_before, message)
