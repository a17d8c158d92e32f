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
