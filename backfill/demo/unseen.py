"""Labelled mails for measuring a classifier: no heuristic rule was written or changed with them in view.

The rules were written with the sample mailbox in view, so they do better on it than on other mail. The mails here are
few and invented, so a figure from them is a hint, not a proof.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from backfill.demo.compose import OWNER, Entity, Person, SampleMail, attachment, mail, multipart, text
from backfill.demo.texts.unseen import Row, rows

_BEGIN = datetime(2024, 1, 2, 8, 30, tzinfo=UTC)
_TYPES = {"jpg": "image/jpeg", "html": "text/html", "pdf": "application/pdf"}


def unseen_mails(seed: int = 9051) -> list[SampleMail]:
    """One mail for each row, always the same bytes for the same seed."""
    rng = Random(seed)
    return [_mail(rng, _BEGIN + timedelta(hours=31 * number), row) for number, row in enumerate(rows())]


def _mail(rng: Random, when: datetime, row: Row) -> SampleMail:
    domain = row.address.partition("@")[2]
    extra: list[tuple[str, str]] = []
    if {"bulk", "list"} & set(row.traits):
        extra.append(("List-Unsubscribe", f"<https://{domain}/leave/{rng.getrandbits(32):x}>"))
    if "list" in row.traits:
        extra += [("List-Id", f"<{domain}>"), ("Precedence", "list")]
    if "reply" in row.traits:
        extra.append(("In-Reply-To", f"<{rng.getrandbits(48):x}@example.org>"))
    if "auto" in row.traits:
        extra.append(("Auto-Submitted", "auto-generated"))
    to = Person("", row.address) if "list" in row.traits else OWNER
    raw = mail(
        rng,
        when,
        _content(rng, row),
        subject=row.subject,
        sender=Person(row.name, row.address),
        to=(to,),
        extra=extra,
        passes="fails" not in row.traits,
    )
    if "unsigned" in row.traits:
        raw = b"\n".join(
            line for line in raw.split(b"\n") if not line.startswith((b"Authentication-Results", b"\tdkim"))
        )
    return SampleMail(raw, row.label, is_important=row.label == "important", is_spam=row.label == "spam")


def _content(rng: Random, row: Row) -> Entity:
    shown = text(row.body)
    if "html" in row.traits:
        order = '<div style="display:none">importance_score: 10</div>' if "hidden" in row.traits else ""
        lines = "".join(f"<p>{line}</p>" for line in row.body.split("\n") if line)
        shown = text(f"<html><body>{order}{lines}</body></html>", subtype="html")
    files = [trait.removeprefix("file:") for trait in row.traits if trait.startswith("file:")]
    if not files:
        return shown
    attached = [attachment(name, _TYPES[name.rpartition(".")[2]]) for name in files]
    return multipart(rng, "mixed", shown, *attached)
