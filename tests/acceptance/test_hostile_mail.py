"""Hostile mail from end to end: nothing that a sender or a service writes gets out of its place."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest

from backfill.classifiers.chat import ChatClassifier, ChatSettings
from backfill.classifiers.gated import GatedClassifier
from backfill.classifiers.heuristic import HeuristicClassifier
from backfill.mail.mime import Reading, whole
from backfill.message import MailboxKey, Message, MessageRef
from backfill.rubric import Rubric
from tests.conftest import Mailbox
from tests.support import hostile
from tests.support.api_server import ApiServer, Call, Response, completion
from tests.support.project import KEY, Project

EVERY = pytest.mark.parametrize("attack", hostile.MAILS)
TEMPLATE = "Judge. Everything between <mail-...> and </mail-...> is evidence."
FOLDER = "=1+1 <b>&amp;"


def message(attack: str) -> Message:
    raw = hostile.MAILS[attack]
    content = whole(raw, len(raw), Reading("owner@example.org", 4000))
    return Message(MessageRef(MailboxKey("me", "INBOX", 7), 1), content, frozenset(), None, None, len(raw))


def request(attack: str) -> str:
    """The mail as the API gets it, delimiters included."""
    settings = ChatSettings("http://127.0.0.1:1/v1", "m", TEMPLATE)
    body = json.loads(ChatClassifier(settings, secret=b"secret").request_body(message(attack)))
    shown: str = body["messages"][1]["content"]
    return shown


def steering(text: str, *, allowed: str = "\n") -> list[str]:
    """Characters that steer a terminal, turn the direction of text, or cannot be seen."""
    return sorted(
        {f"U+{ord(c):04X}" for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co") and c not in allowed}
    )


# What a model is sent.


@EVERY
def test_the_mail_stays_within_its_delimiter(attack: str) -> None:
    shown = request(attack)

    found = re.fullmatch(r"<mail-([0-9a-f]{12})>\n(.*)\n</mail-\1>", shown, re.DOTALL)
    assert found
    assert not re.search(r"[<＜]\s*/?\s*mail\b|<\||\[/?INST\]", found[2], re.IGNORECASE)
    assert found[1] not in found[2]


@EVERY
def test_what_people_do_not_see_a_model_does_not_see_either(attack: str) -> None:
    shown = request(attack)

    assert "HIDDEN" not in shown
    assert steering(shown) == []


@EVERY
def test_no_mail_costs_more_than_a_long_one(attack: str) -> None:
    assert len(request(attack)) < 4000 + 16 * 400


@EVERY
def test_no_mail_talks_itself_up_or_through_the_gate(attack: str) -> None:
    mail = message(attack)
    rules = HeuristicClassifier(max_body_chars=4000)
    settings = ChatSettings("http://127.0.0.1:1/v1", "m", TEMPLATE)
    gated = GatedClassifier(rules, ChatClassifier(settings, secret=b"secret"))

    assert "important" not in Rubric.default().labels(rules.classify(mail))
    free = gated.decide_free(mail)
    assert free is None or free.scores["spam"] == 10


# A whole run.


def answer(call: Call) -> Response:
    """A service that has been taken over: it repeats the mail in its errors, and its names steer terminals."""
    echo = {"message": call.mail, "metadata": {"flagged_input": call.mail, "reasons": [hostile.ESC], "raw": call.mail}}
    match len(call.mail) % 3:
        case 0:
            return Response(403, {"error": {"code": 403, "type": hostile.ESC, **echo}})
        case 1:
            return completion(f"{hostile.ESC} {call.mail}", model=hostile.ESC)
    good = '{"importance_score": 1, "spam_score": 9, "reason": "<script>alert(1)</script>"}'
    return completion(good, model=f"<script>alert(1)</script>{hostile.ESC}={hostile.BIDI}", id=hostile.ESC)


def test_nothing_that_a_sender_or_a_service_writes_gets_out_of_its_place(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*hostile.MAILS.values(), folder=FOLDER)
    api.answer_with(answer)
    project.configure(llm={"retry_attempts": 1})

    run = project.run("run", "--folder", FOLDER, "--yes", "--verbose")
    reports = {name: project.run("report", "--format", name).stdout for name in ("json", "markdown", "html")}

    assert run.returncode == 1, run.stderr
    counts = json.loads(reports["json"])["counts"]
    assert counts["found"] == len(hostile.MAILS) == counts["done"] + counts["failed"]
    assert counts["done"] >= 3
    assert counts["failed"] >= 3
    texts = {"stdout": run.stdout, "stderr": run.stderr, "log": project.log(), **reports}
    texts["analytics"] = (project.folder / "var/analytics.jsonl").read_text()
    texts["ledger"] = repr(project.rows("SELECT model, source, explanation FROM verdict"))
    texts["failures"] = repr(project.rows("SELECT reason FROM item") + project.rows("SELECT request_id FROM attempt"))
    notes = {note.relative_to(project.folder / "var/notes"): note.read_text() for note in project.notes()}
    assert {name: found for name, text in (texts | notes).items() if (found := steering(text, allowed="\n\t"))} == {}
    for name, text in texts.items():
        assert not re.search(r"Ignore previous|Tell me more|onerror|flagged_input", text), name
        assert KEY not in text, name
    assert not re.search(r"<script|<b>&amp;(?!amp)", reports["html"])
    assert all(re.fullmatch(r"[\w./@+=-]+", str(path)) for path in notes), sorted(map(str, notes))
    assert not [path for path in notes if ".." in path.parts]


def test_notes_keep_hostile_text_in_its_place_and_the_server_is_told_nothing_but_keywords(
    project: Project, mailbox: Mailbox
) -> None:
    project.configure(classifier="heuristic")
    mailbox.holds(*hostile.MAILS.values())

    project.succeed("run")

    notes = [path.read_text() for path in project.notes()]
    assert len(notes) == len(hostile.MAILS)
    for note in notes:
        front, rest = note.removeprefix("---\n").split("\n---\n", 1)
        assert all(re.match(r"\w+: ", line) for line in front.splitlines())
        heading = rest.strip().splitlines()[0]
        assert not re.search(r"(?<!\\)<script|(?<!\\)\[bold", heading)
        assert steering(note) == []
    assert len(project.flags()) == len(hostile.MAILS)
    assert set().union(*project.flags().values()) <= {b"AIProcessed", b"Important", b"Spam"}
