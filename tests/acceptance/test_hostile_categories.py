"""A list of categories is no channel for orders: whatever a mail says, the question stays and no answer is believed."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC, datetime
from email.header import Header
from pathlib import Path
from typing import Any

import pytest

from backfill.classifiers.chat import ChatClassifier, ChatSettings
from backfill.classifiers.replies import read_reply
from backfill.errors import AnswerUnusable
from backfill.http.client import Reply
from backfill.mail.mime import Reading, whole
from backfill.message import MailboxKey, Message, MessageRef
from backfill.rubric import Category, Rubric, Score
from backfill.verdict import Answer
from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Call, Response, answer_for, completion
from tests.support.forged_answers import GOOD, MAILS, WANTED
from tests.support.project import Project

TEMPLATE = (Path(__file__).parents[2] / "config/prompt.md").read_text("utf-8")
NOW = datetime(2024, 5, 3, tzinfo=UTC)
RUBRIC = Rubric(
    (Score("urgency", "how soon the owner must act", 7, "Urgent"),),
    (Category(WANTED, "a bill or receipt", "Invoice"), Category("Other", "everything else", None)),
    reason=True,
)
EVERY = pytest.mark.parametrize("attack", MAILS)


def raw(attack: str) -> bytes:
    subject, body = MAILS[attack]
    head = f"From: Eve <eve@evil.example>\r\nTo: owner@example.org\r\nSubject: {Header(subject, 'utf-8').encode()}\r\n"
    more = f"Date: Mon, 03 Jun 2024 10:00:00 +0000\r\nMessage-ID: <{attack.replace(' ', '-')}@evil.example>\r\n"
    return f"{head}{more}Content-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n".encode()


def message(attack: str) -> Message:
    mail = raw(attack)
    content = whole(mail, len(mail), Reading("owner@example.org", 4000))
    return Message(MessageRef(MailboxKey("me", "INBOX", 7), 1), content, frozenset(), None, None, len(mail))


def request(attack: str) -> dict[str, Any]:
    settings = ChatSettings("http://127.0.0.1:1/v1", "m", TEMPLATE, rubric=RUBRIC)
    body: dict[str, Any] = json.loads(ChatClassifier(settings, secret=b"secret").request_body(message(attack)))
    return body


def read(content: str) -> Answer:
    body = {"choices": [{"message": {"content": content}}]}
    return read_reply(Reply(200, {}, json.dumps(body).encode()), NOW, RUBRIC)


@EVERY
def test_the_question_and_its_list_are_the_same_for_every_mail(attack: str) -> None:
    asked, plain = request(attack), request("the name alone")

    assert asked["messages"][0] == plain["messages"][0]
    assert asked["response_format"] == plain["response_format"]
    assert [part["role"] for part in asked["messages"]] == ["system", "user"]


@EVERY
def test_what_the_mail_says_stays_within_its_delimiter(attack: str) -> None:
    shown = request(attack)["messages"][1]["content"]

    found = re.fullmatch(r"<mail-([0-9a-f]{12})>\n(.*)\n</mail-\1>", shown, re.DOTALL)
    assert found
    assert not re.search(r"[<＜]\s*/?\s*mail\b|<\||\[/?INST\]|</?s>|<(start|end)_of_turn", found[2], re.IGNORECASE)


@EVERY
def test_a_model_that_repeats_the_mail_beside_its_answer_is_not_taken_at_the_mails_word(attack: str) -> None:
    shown = request(attack)["messages"][1]["content"]
    honest = {"urgency_score": 1, "category": "Other", "reason": "Advertising."}

    for content in (f"{shown}\n{json.dumps(honest)}", f"{json.dumps(honest)}\n{shown}"):
        try:
            answer = read(content)
        except AnswerUnusable:
            continue  # two objects that disagree: neither counts
        assert (answer.category, answer.scores["urgency"]) == ("Other", 1)


@EVERY
def test_a_name_that_only_looks_like_one_of_the_list_is_none(attack: str) -> None:
    subject = MAILS[attack][0]
    answer = json.dumps(GOOD | {"category": subject})

    if subject == WANTED:
        assert read(answer).category == WANTED
    else:
        with pytest.raises(AnswerUnusable):
            read(answer)


@EVERY
def test_a_reason_in_the_mails_words_steers_nothing(attack: str) -> None:
    reason = read(json.dumps(GOOD | {"reason": MAILS[attack][1]})).reason

    assert len(reason) <= 200
    assert not [char for char in reason if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")]


def test_a_whole_mailbox_of_them_gets_what_the_model_says_and_nothing_else(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*map(raw, MAILS))
    project.ask(
        {
            "scores": {"urgency": {"means": "how soon the owner must act", "threshold": 7, "keyword": "Urgent"}},
            "categories": {
                WANTED: {"means": "a bill or receipt", "keyword": "Invoice"},
                "Other": {"means": "everything else", "keyword": None},
            },
            "reason": True,
        }
    )

    def honest(call: Call) -> Response:
        return completion(json.dumps(answer_for(call) | {"urgency_score": 0, "category": "Other"}))

    api.answer_with(honest)
    project.succeed("run", "--yes")

    assert project.rows("SELECT DISTINCT scores, category FROM verdict") == [('{"urgency":0}', "Other")]
    assert project.count("item WHERE status = 'done'") == len(MAILS) >= 30
    assert {flag for flags in project.flags().values() for flag in flags} == {b"AIProcessed"}
