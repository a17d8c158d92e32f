"""What is left of a mail when signature and quoted history are gone."""

from __future__ import annotations

import pytest

from backfill.mail.quotes import trimmed

HEADINGS = [
    "On Sun, 31 Dec 2023 at 10:00, Bob <bob@example.org> wrote:",
    "Am 31.12.2023 um 10:00 schrieb Bob Beispiel:",
    "Le dim. 31 déc. 2023 à 10:00, Bob <bob@example.org> a écrit :",
    "El dom, 31 dic 2023 a las 10:00, Bob (<bob@example.org>) escribió:",
    "Il giorno dom 31 dic 2023 alle ore 10:00 Bob <bob@example.org> ha scritto:",
    "Op zo 31 dec 2023 om 10:00 schreef Bob <bob@example.org>:",
    "Em dom., 31 de dez. de 2023 às 10:00, Bob <bob@example.org> escreveu:",
    "Den sön 31 dec. 2023 kl 10:00 skrev Bob <bob@example.org>:",
    "W dniu 31.12.2023 o 10:00, Bob pisze i napisał(a):",
    "On Sun, 31 Dec 2023 at 10:00, Bob Who Has a Very Long Name\n<bob@example.org> wrote:",
    "-----Original Message-----",
    "________ Ursprüngliche Nachricht ________",
]


@pytest.mark.parametrize("heading", HEADINGS)
def test_the_history_below_an_answer_is_cut(heading):
    assert trimmed(f"Yes, at noon.\n\n{heading}\n> Lunch tomorrow?\n>\n> Bob") == "Yes, at noon."


def test_history_that_lost_its_quote_marks_is_cut_at_its_heading():
    text = "Yes.\n\nOn Sun, 31 Dec 2023 at 10:00, Bob wrote:\n\nLunch tomorrow?\n\nBob"

    assert trimmed(text) == "Yes."


def test_quotes_at_the_end_are_cut_without_any_heading():
    assert trimmed("Yes.\n\n> Lunch?\n> Bob") == "Yes."


def test_answers_between_quotes_stay_with_what_they_answer():
    text = "On Sunday, Bob wrote:\n> Lunch?\n\nYes.\n\n> Where?\n\nAt Luigi's."

    assert trimmed(text) == text


def test_a_signature_is_cut():
    assert trimmed("See you.\n\n-- \nAnn Example\nHead of Examples") == "See you."
    assert trimmed("See you.\n\n--\nAnn") == "See you."


def test_a_long_text_below_two_dashes_is_no_signature():
    text = "Agenda\n\n--\n" + "\n".join(f"point {number}" for number in range(40))

    assert trimmed(text) == text


@pytest.mark.parametrize(
    "text",
    ["> only\n> quotes", "-- \nonly a signature", "On Sunday, Bob wrote:\n> all there is", "", "👍\n> Lunch?"],
)
def test_nothing_is_cut_when_nothing_readable_would_remain(text):
    assert trimmed(text) == text


def test_a_forwarded_mail_is_left_whole():
    text = "FYI\n\n---------- Forwarded message ---------\nFrom: Bob\n> the news\n-- \nBob"

    assert trimmed(text) == text


@pytest.mark.parametrize(
    "below",
    [
        "Ann Example\nHead of Examples\n+49 30 123456\nwww.example.org",
        "Ann Example\nThis e-mail is confidential and meant for its intended recipient alone.",
        'You received this message because you are subscribed to the Google Groups "cats" group.',
    ],
)
def test_what_programs_put_below_two_dashes_is_cut(below):
    assert trimmed(f"See you at noon.\n\n--\n{below}") == "See you at noon."


@pytest.mark.parametrize(
    "text",
    [
        "Trouble viewing this? Click here.\n\n--\n\nFull\n\nHello,\n\nPay within 24 hours or your photos are deleted.",
        "Hi\n--\nthe meeting is at nine in the large room upstairs.\n--\nBring the slides, please, all of them.",
    ],
)
def test_two_dashes_above_the_text_hide_nothing_of_it(text):
    assert trimmed(text) == text


def test_a_box_that_is_drawn_with_bars_is_no_quote():
    text = "The sums:\n\n| item | sum |\n| rent | 900 |"

    assert trimmed(text) == text


def test_between_answers_a_quote_keeps_six_lines_of_its_first_level():
    quote = "\n".join(f"> line {number}" for number in range(9))
    text = f"Hello,\n\n{quote}\n\nYes.\n\n> > old\n> new\n\nNo."

    kept = "\n".join(f"> line {number}" for number in range(6))
    assert trimmed(text) == f"Hello,\n\n{kept}\n> […]\n\nYes.\n\n> […]\n> new\n\nNo."


@pytest.mark.parametrize(
    "footer",
    [
        f"{'_' * 47}\ncats mailing list\ncats@x.example\nhttps://x.example/listinfo/cats",
        f"{'-' * 69}\nTo unsubscribe, e-mail: cats-off@x.example",
        "==========\nTo leave: https://x.example/unsubscribe\n\n----------\nList archive: https://x.example/a",
    ],
)
def test_the_footer_of_a_mailing_list_is_cut(footer):
    assert trimmed(f"The cat is back.\n\n{footer}") == "The cat is back."


@pytest.mark.parametrize(
    "text", ["Menu\n----------\nSoup and bread", "----------\nunsubscribe me", "a\n===\nmailing list"]
)
def test_a_rule_alone_is_no_footer(text):
    assert trimmed(text) == text


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA1\n\nHello.\n-----BEGIN PGP SIGNATURE-----\n\niQ\n=ab",
            "Hello.",
        ),
        ("Hi\n-----BEGIN PGP MESSAGE-----\n\nhQEM\n-----END PGP MESSAGE-----\nBye", "Hi\n[PGP message]\nBye"),
        ("My key:\n-----BEGIN PGP PUBLIC KEY BLOCK-----\nmQEN\nmQEN", "My key:\n[PGP public key block]"),
        ("See this\nbegin 644 a.gif\nM1234\nM1234\nM1234\n`\nend", "See this\n[attached: a.gif]"),
    ],
)
def test_blocks_that_only_programs_read_are_cut(text, right):
    assert trimmed(text).strip() == right


OUTLOOK = "From: Bob <bob@b.example>\nSent: Monday, 4 March 2024 10:00\nTo: Ann\nSubject: lunch"


def test_below_outlooks_heading_six_lines_are_kept_and_none_of_the_history_below_that():
    history = "\n".join(f"line {number}" for number in range(9))

    kept = trimmed(f"Yes.\n\n{OUTLOOK}\n\n{history}\n\n{OUTLOOK}\n\nolder", "RE: lunch")

    assert kept.startswith(f"Yes.\n\n{OUTLOOK}\n\nline 0\n")
    assert kept.endswith("line 5")


def test_what_outlook_forwards_is_left_whole():
    text = f"FYI\n\n{OUTLOOK}\n\n" + "\n".join(f"line {number}" for number in range(20))

    assert trimmed(text, "FW: lunch") == text
