"""What a prompt costs and what the rules are worth: `python -m tests.bench.prompt [FOLDER]`.

FOLDER: labelled mails as `backfill evaluate` takes them, e.g. the SpamAssassin corpus. The floor of the prompt rows
is the stand-in for the template of the predecessor: 6,000 characters of fixed text, the headers it knew, and the text
of the mail as it came, up to 4,000 characters. A token is four characters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import mean

from backfill import resources
from backfill.classifiers.chat import ChatClassifier, ChatSettings
from backfill.classifiers.gated import GatedClassifier
from backfill.classifiers.heuristic import HeuristicClassifier
from backfill.demo.compose import SampleMail
from backfill.demo.mailbox import OWNER, sample_mailbox
from backfill.demo.unseen import unseen_mails
from backfill.evaluation.agreement import Judged, evaluate
from backfill.evaluation.labels import Truth, find_mails
from backfill.mail import mime, structure
from backfill.mail.headers import Headers
from backfill.mail.mime import Piece, Reading
from backfill.mail.passages import passages
from backfill.message import MailboxKey, Message, MessageRef
from backfill.rubric import Rubric
from tests.bench import mails
from tests.bench.rows import Row, table

FIXED_CHARS = 6_000  # the predecessor's template rendered to 6,217 with subject and sender in it
MAX_BODY_CHARS = 4_000
TOKEN = 4


def measure(folder: Path | None = None) -> Iterator[Row]:
    """Every figure, of the mails that come along and of a folder's."""
    sample = [mail for mails in sample_mailbox().values() for mail in mails]
    yield Row("prompt, fixed part", _fixed_chars() / TOKEN, "tokens", FIXED_CHARS / TOKEN)
    yield from _prompt("sample mailbox", [mail.raw for mail in sample])
    yield from _prompt("2 to 9 KB of text a mail", list(mails.large(200)))
    yield from _rules("sample (rules made with it)", _labelled(sample, OWNER.address))
    yield from _rules("unseen (hard, invented)", _labelled(unseen_mails(), OWNER.address))
    if folder is not None:
        found = list(find_mails(folder))
        yield from _prompt(folder.name, [mail.raw for mail in found])
        yield from _rules(folder.name, [(_message(mail.raw, ""), mail.truth) for mail in found])


def _prompt(name: str, raws: Sequence[bytes]) -> Iterator[Row]:
    ours = mean(map(_our_chars, raws)) / TOKEN
    yield Row(f"prompt tokens a mail, {name}", ours, "tokens", mean(map(_predecessor_chars, raws)) / TOKEN)


def _rules(name: str, labelled: Sequence[tuple[Message, Truth]]) -> Iterator[Row]:
    rules = HeuristicClassifier(max_body_chars=MAX_BODY_CHARS)
    judged = [Judged(truth, rules.classify(message)) for message, truth in labelled]
    figures = evaluate(judged, Rubric.default())
    for measured in figures.scores:
        if measured.auc is not None:
            word = measured.name
            yield Row(f"rules, {name}: {word} AUC", measured.auc, "")
            yield Row(f"rules, {name}: {word} precision", measured.precision or 0.0, "")
            yield Row(f"rules, {name}: {word} recall", measured.recall or 0.0, "")
    yield from _gate(name, labelled)


def _gate(name: str, labelled: Sequence[tuple[Message, Truth]]) -> Iterator[Row]:
    gated = GatedClassifier(HeuristicClassifier(max_body_chars=MAX_BODY_CHARS), _chat())
    decided = [Judged(truth, answer) for message, truth in labelled if (answer := gated.decide_free(message))]
    figures = evaluate(decided, Rubric.default())
    wrong = sum(measured.false_positives + measured.false_negatives for measured in figures.scores)
    yield Row(f"gate, {name}: decided", 100 * len(decided) / len(labelled), "%")
    yield Row(f"gate, {name}: wrong labels", wrong, f"of {len(decided)} mails")


# What is sent.


def _chat() -> ChatClassifier:
    settings = ChatSettings("http://127.0.0.1:1/v1", "model", resources.text("config/prompt.md"))
    return ChatClassifier(settings, secret=b"secret")


def _our_chars(raw: bytes) -> int:
    body = json.loads(_chat().request_body(_message(raw, OWNER.address)))
    return sum(len(message["content"]) for message in body["messages"])


def _fixed_chars() -> int:
    body = json.loads(_chat().request_body(_message(b"\n\n", "")))
    return len(body["messages"][0]["content"])


def _predecessor_chars(raw: bytes) -> int:
    """Its text came without HTML tags, which is to its credit, but with history, signature and filler."""
    raw = raw if b"\r\n" in raw else raw.replace(b"\n", b"\r\n")
    headers = Headers(raw)
    head = sum(len(headers.text(name)) for name in ("subject", "from"))
    root, payloads = structure.from_bytes(raw)
    chosen = passages(root)
    pieces = {part.section: Piece(part, payloads[part.section]) for each in chosen for part in each.parts}
    return FIXED_CHARS + head + min(len(mime.text_of(chosen, pieces, Reading()).text), MAX_BODY_CHARS)


def _labelled(sample: Iterable[SampleMail], owner: str) -> list[tuple[Message, Truth]]:
    return [(_message(mail.raw, owner), Truth.of(spam=mail.is_spam, importance=mail.is_important)) for mail in sample]


def _message(raw: bytes, owner: str) -> Message:
    content = mime.whole(raw, len(raw), Reading(owner, MAX_BODY_CHARS))
    return Message(MessageRef(MailboxKey("", "", 1), 1), content, frozenset(), None, None, len(raw))


if __name__ == "__main__":
    print(table(list(measure(Path(sys.argv[1]) if len(sys.argv) > 1 else None))))
