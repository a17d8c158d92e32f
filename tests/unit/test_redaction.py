"""No form of a secret passes a door."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

import pytest

from backfill.classifiers.untrusted import clean
from backfill.errors import ConfigError, KeyRefused, MailThrottled
from backfill.ledger_url import secrets_of, with_file, without_secrets
from backfill.mail.errors import one_line, throttling
from backfill.redaction import protect, redacted, redacted_own

SECRET = 'Gr\u00fcn/=" \\tea& 4'
TOKEN = "ya29.a0AfH6SNx-0123456789_abcdefghij"


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        html.escape(SECRET),
        repr(SECRET.encode())[2:-1],
        'Gr\u00fcn/=\\" \\\\tea& 4',
    ],
)
def test_a_secret_is_hidden_in_every_way_of_quoting_it(form):
    protect(SECRET)

    assert redacted(f"LOGIN jo {form} refused") == "LOGIN jo *** refused"


@pytest.mark.parametrize("around", ["\0jo\0{}", "\0jon\0{}", "\0john\0{}", "user=jo\1auth=Bearer {}\1\1", "jo:{}"])
def test_a_secret_is_hidden_within_base64_whatever_stands_beside_it(around):
    protect(TOKEN)

    sent = base64.b64encode(around.format(TOKEN).encode()).decode()

    assert redacted(f"BAD AUTHENTICATE {sent} unknown") == "BAD AUTHENTICATE *** unknown"


def test_a_short_password_is_hidden_as_a_word_and_leaves_words_alone():
    protect("done")

    assert redacted("LOGIN jo done; abandoned, undone") == "LOGIN jo ***; abandoned, undone"


@pytest.mark.parametrize("password", ["secret", "folder", "server1", "a"])
def test_a_short_password_leaves_our_own_sentences_alone(password):
    protect(password)

    assert redacted_own(f"the {password} of the hook, {password}") == f"the {password} of the hook, {password}"
    assert str(ConfigError(f"Check the {password}.")) == f"Check the {password}."


@pytest.mark.parametrize("password", ["hunter2!", "correct-horse", "sec ret."])
def test_a_longer_password_is_hidden_in_our_own_sentences_too(password):
    protect(password)

    assert redacted_own(f"LOGIN jo {password}, {quote(password)}") == "LOGIN jo ***, ***"
    assert password not in str(ConfigError(f"not {password}"))


def test_a_short_password_is_hidden_in_the_words_of_others():
    protect("secret")

    assert one_line("NO LOGIN jo secret refused") == "NO LOGIN jo *** refused"
    assert clean("LOGIN:secret") == "LOGIN:***"


def test_the_longer_of_two_secrets_is_hidden_whole():
    protect("0123456789", "0123456789-abcdef")

    assert redacted("x 0123456789-abcdef y") == "x *** y"


def test_a_megabyte_of_base64_is_looked_through_at_once():
    protect(TOKEN)

    assert len(redacted("x" * 3_000_000)) == 3_000_000


@pytest.mark.parametrize("kind", [ConfigError, KeyRefused, MailThrottled])
def test_no_error_of_ours_names_a_secret(kind):
    protect(TOKEN)

    assert TOKEN not in str(kind(f"the service said {TOKEN}"))


def test_a_secret_that_would_be_cut_in_half_is_hidden_before():
    protect(TOKEN)

    shown = one_line("x" * 290 + TOKEN), clean("x" * 70 + TOKEN), str(throttling("[LIMIT] " + "x" * 280 + TOKEN))

    assert not any(TOKEN[:8] in text for text in shown)


def test_the_key_is_no_machine_word():
    protect(TOKEN)

    assert clean(f"invalid_key {TOKEN}") == "invalid_key***"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://jo:s3cret%2Fword@db/mail",
        "postgresql://db/mail?user=jo&password=s3cret%2Fword",
        "postgresql+psycopg://db/mail?PASSWORD=s3cret%2Fword&sslmode=require",
        "postgresql://db/mail?sslpassword=s3cret%2Fword#x",
    ],
)
def test_every_password_of_a_ledger_url_is_known_and_hidden(url):
    assert {"s3cret%2Fword", "s3cret/word"} <= set(secrets_of(url))
    assert "s3cret" not in without_secrets(url)
    assert without_secrets(url).startswith("postgresql")


def test_only_the_file_of_a_ledger_url_is_placed():
    assert with_file("sqlite:///var/l.db?timeout=3", lambda file: f"/p/{file}") == "sqlite:////p/var/l.db?timeout=3"
    assert with_file("postgresql://db/mail", lambda file: "no") == "postgresql://db/mail"
