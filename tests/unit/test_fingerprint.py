"""A ledger of yesterday goes on without paying: what is hashed is written as it always was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backfill.classifiers.chat import ChatClassifier, ChatSettings
from backfill.fingerprint import Fingerprint

PROMPT = "Score this mail.  \r\nBe brief.\r\n\r\n"
CHAT: dict[str, Any] = {
    "classifier": "chat",
    "model": "vendor/größe-1",
    "response_format": "json_schema",
    "schema": {"type": "object", "required": ["spam", "importance"]},
    "temperature": 0.2,
    "max_output_tokens": 200,
    "max_body_chars": 4000,
    "rendering": 2,
}
RULES = {"classifier": "heuristic", "rules": "ab12", "max_body_chars": 4000}

STORED_CHAT = (
    '{"classifier":"chat","max_body_chars":4000,"max_output_tokens":200,"model":"vendor/gr\\u00f6\\u00dfe-1",'
    '"rendering":2,"response_format":"json_schema","schema":{"required":["spam","importance"],"type":"object"},'
    '"temperature":0.2}'
)
STORED_GATED = (
    '{"classifier":"gated","gate":{"certain":"cd34","classifier":"heuristic","max_body_chars":4000,"rules":"ab12"},'
    '"max_body_chars":4000,"max_output_tokens":200,"model":"vendor/gr\\u00f6\\u00dfe-1","rendering":2,'
    '"response_format":"json_schema","schema":null,"temperature":null}'
)
STORED_RULES = '{"classifier":"heuristic","max_body_chars":4000,"rules":"ab12"}'


def gated() -> Fingerprint:
    chat, rules = Fingerprint.of(PROMPT, **CHAT | {"schema": None, "temperature": None}), Fingerprint.of(**RULES)
    return chat.having(classifier="gated", gate=rules.having(certain="cd34"))


KNOWN = {
    "chat": (
        Fingerprint.of(PROMPT, **CHAT),
        STORED_CHAT,
        "19b3c5741887a6533af51a6594337f98a89bfa063387ada9912cf52227a52d3f",
    ),
    "gated": (gated(), STORED_GATED, "21df65e2a80c041428b165d79ec6fade99b6743770dd409dcf7e961f233600ec"),
    "heuristic": (
        Fingerprint.of(**RULES),
        STORED_RULES,
        "c4822c66c309f0bb37a7e4ed0260669f29659248c18655a5fba9245fcd86c526",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_ledger_keeps_the_same_bytes_and_the_same_digest_as_ever(name: str) -> None:
    made, stored, digest = KNOWN[name]

    assert (made.canonical, made.digest()) == (stored, digest)
    assert Fingerprint(stored, made.prompt).digest() == digest


def test_the_default_way_to_ask_has_the_digest_that_ledgers_know() -> None:
    settings = ChatSettings(api_url="https://api.example/v1", api_key="k", model="m", prompt="Judge.")

    classifier = ChatClassifier(settings, secret=b"s")

    assert classifier.fingerprint.digest() == "7cffe827dbd9cb711475a15f4e64af45c3b1c65ff966f7d6d48ca0b204242002"
    classifier.close()


def test_a_stored_fingerprint_says_how_its_job_is_gone_on_with() -> None:
    settings = Fingerprint(STORED_GATED, PROMPT).settings

    assert (settings.classifier, settings.model, settings.max_body_chars) == ("gated", "vendor/größe-1", 4000)
    assert settings.temperature is None


@pytest.mark.parametrize(
    ("stored", "judge"),
    [(STORED_CHAT, "vendor/größe-1"), (STORED_RULES, "heuristic"), ("{}", "unknown"), ('{"model":null}', "unknown")],
)
def test_the_judge_is_named_by_the_model_or_else_by_the_classifier(stored: str, judge: str) -> None:
    assert Fingerprint(stored).judge == judge


def test_what_differs_is_said_part_by_part_and_long_values_are_not_shown() -> None:
    planned = Fingerprint(STORED_CHAT, PROMPT)
    configured = planned.having(model="other", schema=None, temperature=0.5, rules="x" * 41)

    assert planned.differences(configured) == [
        "model: vendor/größe-1 -> other",
        "rules: none -> …",
        "schema: … -> none",
        "temperature: 0.2 -> 0.5",
    ]


def test_line_endings_and_trailing_blanks_make_no_other_prompt() -> None:
    planned = Fingerprint(STORED_CHAT, PROMPT)

    assert planned.differences(Fingerprint(STORED_CHAT, "Score this mail.\nBe brief.")) == []
    assert planned.differences(Fingerprint(STORED_CHAT, "Be brief.")) == ["prompt: another text"]


def test_a_part_of_a_version_that_is_not_known_is_kept() -> None:
    stored = json.dumps({"classifier": "chat", "sampling": {"seed": 7}}, separators=(",", ":"))

    assert Fingerprint(stored).differences(Fingerprint.of(classifier="chat")) == ["sampling: … -> none"]
