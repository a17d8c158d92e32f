"""A mail that a classifier is asked about, and the error that comes of it."""

from __future__ import annotations

import pytest

from backfill.errors import ClassifierError, Concession
from backfill.message import Content, MailboxKey, Message, MessageRef
from backfill.ports import Classifier


def mail(body: str = "Shall we meet?") -> Message:
    content = Content(subject="Hello", sender="Ann <ann@example.com>", body=body)
    return Message(MessageRef(MailboxKey("me", "INBOX", 7), 1), content, frozenset(), None, None, 100)


def refusal_of(
    classifier: Classifier, message: Message | None = None, concession: Concession | None = None
) -> ClassifierError:
    """The error of one call, which must fail. `message` None: `mail()`."""
    with pytest.raises(ClassifierError) as caught:
        classifier.classify(message or mail(), concession)
    return caught.value
