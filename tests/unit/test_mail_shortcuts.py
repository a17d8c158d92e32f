"""Where plain mails are read by a shorter way, it gives the very same as the long one."""

from __future__ import annotations

import email.utils

from hypothesis import example, given, settings
from hypothesis import strategies as st
from imapclient.response_types import BodyData

from backfill.mail.headers import Headers
from backfill.mail.quotes import trimmed
from backfill.mail.structure import from_bodystructure
from backfill.mail.text import clean, one_line

LENIENT = {"strict": False} if hasattr(email.utils, "supports_strict_parsing") else {}

mailboxes = st.from_regex(
    r'(([a-z.é=?-]{1,4}( [a-z.]{1,3}){0,2}|"[a-z., é@<>-]{0,6}") <[a-z.+\'-]{1,4}@[a-z.-]{1,4}>'
    r"|[a-z.+-]{1,4}@[a-z.-]{1,4})",
    fullmatch=True,
)
values = st.lists(mailboxes, min_size=1, max_size=4).flatmap(
    lambda found: st.sampled_from([", ", ",", ",  "]).map(lambda between: between.join(found))
)


@given(st.lists(values, min_size=1, max_size=2))
@settings(max_examples=500)
@example(['Ann Example <ann@example.org>, "Doe, Bob" <bob@example.org>, eve@example.org'])
@example(["J. Doe <j.d.@a>", '"" <a@b>'])
@example(['"a@b" <c@d>, "<x@y>, " <z@w>'])
def test_addresses_of_proper_fields_are_those_that_the_library_finds(fields):
    found = email.utils.getaddresses(fields, **LENIENT)

    shown = Headers("".join(f"To: {field}\r\n" for field in fields).encode()).addresses("to")

    assert [address for _, address in shown] == [one_line(address, 320) for _, address in found]


@given(st.text(st.sampled_from("ab.\"\\<>'%é "), max_size=8), st.sampled_from(["filename", "FileName", "filename*"]))
@settings(max_examples=500)
@example('"quoted"', "filename")
@example("<a>", "filename")
@example("utf-8''%e2%82%ac", "filename*")
def test_a_parameter_is_what_the_library_makes_of_it(value, name):
    _, (_, decoded) = email.utils.decode_params([("", ""), (name.lower(), value)])
    disposition = (b"attachment", (name.encode(), value.encode(), b"size", b"9"))

    part = from_bodystructure(
        BodyData((b"application", b"pdf", None, None, None, b"base64", 9, None, disposition, None, None))
    )

    assert part.filename == email.utils.unquote(email.utils.collapse_rfc2231_value(decoded))


@given(st.text(st.characters(max_codepoint=127), max_size=30))
@settings(max_examples=500)
@example("a \x1f\t b\x7f\r\n\r\n\r\n\x0bc  d")
def test_a_text_is_cleaned_alike_whatever_else_stands_in_it(text):
    assert clean(f"{text}\né") == clean(f"{text}\ne").removesuffix("e") + "é"
    assert one_line(f"{text}é") == one_line(f"{text}e").removesuffix("e") + "é"


@given(st.lists(st.sampled_from(["", " ", "a", "a  b", "\ta", "a\xa0\u2003b", "\u200b", "\x00"]), max_size=8))
def test_a_cleaned_text_is_clean(lines):
    cleaned = clean("\r\n".join(lines))

    assert clean(cleaned) == cleaned
    assert cleaned.split() == "\n".join(lines).replace("\u200b", "").replace("\x00", "").split()
    assert not any(blanks in cleaned for blanks in ("  ", " \n", "\n ", "\n\n\n"))


def test_a_heading_on_two_lines_is_found_wherever_it_stands():
    heading = "On Sun, 31 Dec 2023 at 10:00, Bob Who Has a Long Name\n<bob@example.org> wrote:"

    assert trimmed(f"Note:\n\n- one\n- two:\n{heading}\n> Lunch?") == "Note:\n\n- one\n- two:"
