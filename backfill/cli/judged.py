"""A mail as a dry run shows it: for people on one line, for machines as one JSON object.

What is shown is other people's words. It goes to the terminal or to standard output only, never to the log.
"""

import json

from backfill.ports import Judged
from backfill.wording import printable

MOST_SENDER, MOST_SUBJECT = 40, 60


def line(mail: Judged) -> str:
    """2024-06-03  Ada <ada@example.com>  Lunch on Friday?  importance 7, spam 1 -> important"""
    content = None if mail.message is None else mail.message.content
    day = "" if content is None else content.date[:10]
    sender = "" if content is None else _short(content.sender, MOST_SENDER)
    subject = "" if content is None else _short(content.subject, MOST_SUBJECT)
    answers = [str(mail.verdict.scores), mail.verdict.category or ""]
    judged = ", ".join(filter(None, answers))
    labels = f" -> {', '.join(mail.labels)}" if mail.labels else ""
    return printable("  ".join((day or "no date   ", sender or "-", subject or "-", f"{judged}{labels}")))


def machine_line(mail: Judged) -> str:
    """In ASCII, so that no mail can steer a terminal. Address and answers have the keys of an analytics line."""
    content = None if mail.message is None else mail.message.content
    mailbox, verdict = mail.ref.mailbox, mail.verdict
    values = {
        "account": mailbox.account,
        "folder": mailbox.folder,
        "uidvalidity": mailbox.uidvalidity,
        "uid": mail.ref.uid,
        "date": None if content is None else content.date or None,
        "sender": None if content is None else content.sender,
        "subject": None if content is None else content.subject,
        "scores": dict(verdict.scores),
        "category": verdict.category,
        "reason": verdict.reason,
        "labels": list(mail.labels),
    }
    return json.dumps({"mail": values})


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
