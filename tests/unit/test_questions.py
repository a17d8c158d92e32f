"""What a rubric asks: prompt, schema and parser agree, and importance and spam are asked for as ever."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backfill.classifiers.chat import ChatClassifier, ChatSettings
from backfill.classifiers.prompt import fixed_text
from backfill.classifiers.questions import check_template, filled, keys_of, schema_of
from backfill.classifiers.replies import read_reply
from backfill.errors import AnswerUnusable, Concession, ConfigError
from backfill.http.client import Reply
from backfill.message import Content, MailboxKey, Message, MessageRef
from backfill.rubric import MOST_CATEGORIES, MOST_SCORES, Category, Rubric, Score
from backfill.verdict import Answer

TEMPLATE = Path(__file__, "../../../config/prompt.md").resolve().read_text("utf-8")
NOW = datetime(2024, 5, 3, tzinfo=UTC)

#: Of the text and the classifier of version 0.1, before there were rubrics.
EARLIER_TEXT = "bb9b97523eb2b2572f87d4af72a44e94d486fc648abbef20fd80a4cff8aadc2c"
EARLIER = {
    "json_schema": "68fa23b0b604961f595ef143be01832831407bfa26714652abf87cdb593e7c6a",
    "json_object": "4c87f879fc60b17be146c4fda728c6e9480d76a6a7cf9b1f2521b9cdc2844b8f",
    "none": "b6b64dcfae31302a6987b87414e0279155c60e99e3ee7b15d79f1bebd007f506",
}
OWN = Rubric(
    (Score("urgency", "how soon", 7, "Urgent"), Score("spam", "how unwanted", 5, None)),
    (Category("Invoice", "a bill", "Invoice"), Category("Über uns", "news", None)),
    reason=True,
)
LETTER = Message(MessageRef(MailboxKey("a", "INBOX", 1), 1), Content(subject="Hi"), frozenset(), None, None, 2)


def chat(rubric: Rubric, template: str = TEMPLATE, **settings: Any) -> ChatClassifier:
    return ChatClassifier(
        ChatSettings("http://127.0.0.1:1/v1", "vendor/m", template, rubric=rubric, **settings), secret=b"s"
    )


def read(content: object, rubric: Rubric = OWN) -> Answer:
    body = {"choices": [{"message": {"content": content if isinstance(content, str) else json.dumps(content)}}]}
    return read_reply(Reply(200, {}, json.dumps(body).encode()), NOW, rubric)


def whole(**changes: Any) -> dict[str, Any]:
    return {"urgency_score": 7, "spam_score": 1, "category": "Invoice", "reason": "It asks for money."} | changes


# the default rubric


def test_importance_and_spam_are_asked_for_with_the_bytes_of_before():
    assert sha256(filled(TEMPLATE, Rubric.default()).encode()).hexdigest() == EARLIER_TEXT


@pytest.mark.parametrize("form", EARLIER)
def test_a_verdict_of_before_is_still_known(form):
    assert chat(Rubric.default(), response_format=form).fingerprint.digest() == EARLIER[form]


def test_a_prompt_of_the_users_own_without_variables_is_sent_as_it_stands():
    assert filled("<!-- x -->Judge {{ this }} mail.\r\n", Rubric.default()) == "Judge {{ this }} mail."


@pytest.mark.parametrize(
    ("template", "lacking"),
    [
        ("Judge.", "{{ questions }} and {{ answer }}"),
        ("Judge. {{ questions }}", "{{ answer }}"),
        ("{{ answer }} <!-- {{ questions }} -->", "{{ questions }}"),
    ],
)
def test_a_prompt_that_does_not_ask_for_the_rubric_is_refused_with_what_is_to_be_added(template, lacking):
    check_template(template, Rubric.default())

    with pytest.raises(ConfigError, match=f"add {lacking} to the file that paths.prompt_file names"):
        check_template(template, OWN)


# what is asked


def test_new_thresholds_and_keywords_are_no_new_question():
    other = Rubric(
        tuple(Score(each.name, each.means, 1, None) for each in OWN.scores),
        tuple(Category(each.name, each.means, f"K{place}") for place, each in enumerate(OWN.categories)),
        reason=True,
    )

    assert chat(other).fingerprint.digest() == chat(OWN).fingerprint.digest()


@pytest.mark.parametrize(
    "other",
    [
        Rubric(OWN.scores[:1], OWN.categories, reason=True),
        Rubric(OWN.scores, OWN.categories[:1], reason=True),
        Rubric(OWN.scores, OWN.categories),
        Rubric((Score("urgency", "how soon?", 7, "Urgent"), OWN.scores[1]), OWN.categories, reason=True),
        Rubric(OWN.scores, (Category("Bill", "a bill", None), OWN.categories[1]), reason=True),
        Rubric(OWN.scores[::-1], OWN.categories, reason=True),
    ],
)
@pytest.mark.parametrize("form", EARLIER)
def test_another_name_meaning_or_list_is_a_new_question(other, form):
    mine, theirs = chat(OWN, response_format=form), chat(other, response_format=form)

    assert mine.fingerprint.digest() != theirs.fingerprint.digest()
    assert mine.fingerprint.differences(theirs.fingerprint)


def test_what_the_user_writes_is_filled_in_once_and_ends_nothing():
    rubric = Rubric((Score("a", "more than 3 < 5, {questions} or $answer\\1", 5, None),))

    text = filled(TEMPLATE, rubric)

    assert "a_score: more than 3 < 5, {questions} or $answer\\1\n\nJudge in any language" in text
    assert text.count("a_score: ") == 1


def test_without_a_score_for_spam_no_such_score_is_spoken_of():
    assert "spam" not in filled(TEMPLATE, Rubric((Score("urgency", "how soon", 5, None),)))


@pytest.mark.parametrize("form", ["json_schema", "json_object", "none"])
def test_the_list_stands_in_the_question_and_in_the_schema(form):
    body = json.loads(chat(OWN, response_format=form).request_body(LETTER))

    assert "- Invoice: a bill\n- Über uns: news" in body["messages"][0]["content"]
    assert "JSON" in body["messages"][0]["content"]
    if form == "json_schema":
        schema = body["response_format"]["json_schema"]["schema"]
        assert schema["properties"]["category"] == {"type": "string", "enum": ["Invoice", "Über uns"]}
    else:
        assert body.get("response_format") == ({"type": "json_object"} if form == "json_object" else None)


def test_the_second_question_names_the_list_again():
    first = json.loads(chat(OWN).request_body(LETTER))["messages"]
    second = json.loads(chat(OWN).request_body(LETTER, Concession.REMINDED))["messages"]

    assert second[0]["content"].startswith(first[0]["content"])
    assert second[0]["content"].endswith('category is one of: "Invoice", "Über uns"')
    assert second[1] == first[1]


# what is answered


def test_an_answer_has_scores_category_and_reason():
    answer = read(whole())

    assert dict(answer.scores) == {"urgency": 7, "spam": 1}
    assert (answer.category, answer.reason) == ("Invoice", "It asks for money.")
    assert OWN.labels(answer) == ("urgency", "Invoice")


@pytest.mark.parametrize("said", ["invoice", "INVOICE", " Invoice\n", "über uns", "ÜBER UNS", "U\u0308ber uns"])
def test_a_category_in_another_case_is_the_category(said):
    assert read(whole(category=said)).category in {"Invoice", "Über uns"}


@pytest.mark.parametrize(
    "odd",
    [
        whole(category="Invoices"),
        whole(category=""),
        whole(category=None),
        whole(category=1),
        whole(category=["Invoice"]),
        whole(category="Inv\u043eice"),  # a Cyrillic letter
        whole(category="Ｉnvoice"),
        whole(category="In\u200bvoice"),
        whole(urgency_score=11),
        whole(urgency_score=-1),
        whole(urgency_score="7"),
        whole(urgency_score=7.0),
        whole(urgency_score=True),
        whole(reason=None),
        whole(reason=5),
        {key: value for key, value in whole().items() if key != "spam_score"},
        {key: value for key, value in whole().items() if key != "category"},
        {key: value for key, value in whole().items() if key != "reason"},
        {"importance_score": 7, "spam_score": 1},
    ],
    ids=repr,
)
def test_an_answer_that_was_not_asked_for_counts_for_nothing_and_is_asked_for_once_more(odd):
    with pytest.raises(AnswerUnusable) as error:
        read(odd)

    assert error.value.concession is Concession.REMINDED


def test_without_a_list_there_is_nothing_to_be_reminded_of():
    with pytest.raises(AnswerUnusable) as error:
        read({"importance_score": 11, "spam_score": 1}, Rubric.default())

    assert error.value.concession is None


def test_two_objects_that_disagree_count_for_nothing():
    with pytest.raises(AnswerUnusable, match="disagree"):
        read(json.dumps(whole()) + json.dumps(whole(category="Über uns")))


def test_two_objects_with_other_reasons_agree():
    answer = read(json.dumps(whole(reason="First.")) + json.dumps(whole(reason="Second.")))

    assert answer.reason == "First."


@pytest.mark.parametrize("is_thought", [True, False])
def test_the_form_that_a_model_repeats_before_its_answer_is_no_answer(is_thought):
    rubric = Rubric((), OWN.categories, reason=True)
    form = next(line for line in filled(TEMPLATE, rubric).splitlines() if line.startswith("Answer with"))
    content = f"{form}\n{json.dumps({'category': 'Invoice', 'reason': 'A bill.'})}"

    answer = read(f"<think>{content}</think>" if is_thought else content, rubric)

    assert (answer.category, answer.reason) == ("Invoice", "A bill.")


def test_the_form_alone_is_no_answer():
    with pytest.raises(AnswerUnusable):
        read({"category": "<name>", "reason": "<sentence>"}, Rubric((), OWN.categories, reason=True))


def test_two_objects_with_one_category_in_two_cases_agree():
    assert read(json.dumps(whole()) + json.dumps(whole(category="INVOICE"))).category == "Invoice"


def test_what_was_not_asked_for_is_passed_over():
    assert read(whole(confidence=0.9, importance_score=9)) == read(whole())


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Two\nlines\tand  blanks ", "Two lines and blanks"),
        ("\x1b[31mred\x1b[0m \x1b]8;;http://e.example\x07link\x1b]8;;\x07", "red link"),
        ("\x9b2Jx\x1bcy\x00z", "x y z"),
        ("ab\u202ecd\u2066ef\u200bgh\ufeff", "ab cd ef gh"),
        ("x" * 300, "x" * 199 + "…"),
        ("é" * 200, "é" * 200),
        ("\ud800!", "?!"),
        ("", ""),
    ],
)
def test_a_reason_is_one_clean_line(said, kept):
    assert read(whole(reason=said)).reason == kept


# any rubric

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,39}", fullmatch=True)
CATEGORIES = st.text(st.sampled_from("abcXYZäßÉжБ中9 &/+.'()-\u0308\u093f\u0e31"), min_size=1, max_size=12).map(
    str.strip
)
MEANS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=60)
KEYWORDS = st.none()


@st.composite
def rubrics(draw: st.DrawFn) -> Rubric:
    scores = [
        Score(name, draw(MEANS), draw(st.integers(0, 10)), None)
        for name in draw(st.lists(NAMES, max_size=MOST_SCORES, unique_by=str.casefold))
    ]
    categories = [
        Category(name, draw(MEANS), None)
        for name in draw(st.lists(CATEGORIES, max_size=MOST_CATEGORIES, unique_by=str.casefold))
    ]
    try:
        return Rubric(tuple(scores), tuple(categories), draw(st.booleans()))
    except ValueError:
        assume(False)
        raise


def answers(rubric: Rubric) -> st.SearchStrategy[dict[str, Any]]:
    """What the schema allows, with scores within their range."""
    members: dict[str, st.SearchStrategy[Any]] = {f"{score.name}_score": st.integers(0, 10) for score in rubric.scores}
    if rubric.categories:
        members["category"] = st.sampled_from([each.name for each in rubric.categories])
    if rubric.reason:
        members["reason"] = st.text(max_size=250)
    return st.fixed_dictionaries(members)


@given(st.data())
def test_what_the_schema_allows_is_asked_for_and_read(data):
    rubric = data.draw(rubrics())
    answer = data.draw(answers(rubric))

    jsonschema.validate(answer, schema_of(rubric))
    text = filled(TEMPLATE, rubric)
    told = read(answer, rubric)

    assert {score.name: answer[f"{score.name}_score"] for score in rubric.scores} == dict(told.scores)
    assert told.category == answer.get("category")
    assert len(told.reason) <= 200
    assert told.reason.isprintable()
    assert all(f'"{key}"' in text for key in keys_of(rubric))
    assert all(f"- {each.name}: " in text for each in rubric.categories)
    assert text == fixed_text(text) == filled(text, rubric)


@given(st.data())
def test_what_the_schema_forbids_is_refused(data):
    rubric = data.draw(rubrics())
    answer = data.draw(answers(rubric))
    key = data.draw(st.sampled_from(keys_of(rubric)))
    wrong = data.draw(st.sampled_from([None, 1.5, [], {}, True, *([5] if key in {"category", "reason"} else ["5"])]))
    other = data.draw(st.sampled_from(["gone", "wrong"]))
    answer = {name: value for name, value in answer.items() if name != key} | ({} if other == "gone" else {key: wrong})

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answer, schema_of(rubric))
    with pytest.raises(AnswerUnusable):
        read(answer, rubric)


@given(st.data())
def test_a_rubric_comes_back_from_the_ledger_as_it_was(data):
    rubric = data.draw(rubrics())

    assert Rubric.from_canonical(rubric.canonical()) == rubric
