"""What servers say to a STORE: that there is no room, that it is never possible, or that it is done, and is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from backfill.effects.flags import FlagsEffect
from backfill.errors import KeywordRefused, MailThrottled, StoreUnavailable
from backfill.mail.login import ImapAccount
from backfill.mail.source import ImapMarker
from backfill.message import MailboxKey
from backfill.ports import Receipt, ReceiptState, Unapplied
from backfill.rubric import Rubric
from tests.support.judged import judged
from tests.support.scripted_imap import ScriptedImap

INBOX = MailboxKey("bob@127.0.0.1", "INBOX", 7)
MAIL = b"From: bob@example.org\r\n\r\nHello\r\n"

Make = Callable[[ScriptedImap], ImapMarker]


@pytest.fixture
def marking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setenv("MAILBOX_PASSWORD", "secret")
    markers: list[ImapMarker] = []

    def make(server: ScriptedImap) -> ImapMarker:
        account = ImapAccount(
            "127.0.0.1", "bob", port=server.port, security="none", password_env="MAILBOX_PASSWORD", timeout_s=5
        )
        markers.append(ImapMarker(account))
        return markers[-1]

    yield make
    for marker in markers:
        marker.close()


def refusing(answer: bytes, *words: str) -> ScriptedImap:
    """A server that answers STOREs like that, those of certain keywords or all."""
    server = ScriptedImap(dict.fromkeys(range(1, 4), MAIL))
    server.script = lambda command: (
        [b"{tag} " + answer]
        if command.startswith("UID STORE") and (not words or any(word in command for word in words))
        else None
    )
    return server


def effect(marker: ImapMarker) -> FlagsEffect:
    return FlagsEffect(marker, processed_tag="AIProcessed", keywords=Rubric.default().keywords)


@pytest.mark.parametrize(
    "answer",
    [
        b"NO [OVERQUOTA] Not enough disk quota",
        b"NO [OVERQUOTA] Quota exceeded (mailbox for user is full)",
        b"NO Mailbox is full",
        b"NO No space left on device",
        b"NO [SERVERBUG] write failed: out of disk space",
    ],
)
def test_an_account_without_room_stores_nothing_for_the_time_being(marking: Make, answer: bytes) -> None:
    with refusing(answer) as server, pytest.raises(StoreUnavailable, match="room") as full:
        marking(server).add(INBOX, "AIProcessed", [1, 2, 3])

    assert full.value.exit_code == 75


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (b"NO [OVERQUOTA] Account exceeded command or bandwidth limits.", 3600),
        (b"NO [LIMIT] STORE Rate limit hit.", 300),
        (b"NO [LIMIT] Too many requests per minute", 300),
        (b"NO Request is throttled. Suggested Backoff Time: 299910 milliseconds", 299.91),
        (b"NO [LIMIT] slow down, try again in 2 minutes", 120),
    ],
)
def test_a_pace_that_is_too_high_is_still_a_matter_of_patience(marking: Make, answer: bytes, wait_s: float) -> None:
    with refusing(answer) as server, pytest.raises(MailThrottled) as asked:
        marking(server).add(INBOX, "AIProcessed", [1, 2, 3])

    assert asked.value.wait_s == wait_s


NEVER = [
    b"NO [LIMIT] too many keywords",
    b"NO [LIMIT] At most 32 flags in one mailbox supported",  # RFC 5530 §3
    b"NO [CANNOT] Keywords cannot be stored",
    b"NO [NOPERM] Permission denied",
    b"NO Too many user flags",
    b"BAD Keyword too long",
]


@pytest.mark.parametrize("answer", NEVER)
def test_what_the_server_never_stores_is_not_applicable_with_its_reason(marking: Make, answer: bytes) -> None:
    with refusing(answer) as server:
        receipts = list(effect(marking(server)).apply([judged(uid, mailbox=INBOX) for uid in (1, 2, 3)]))

    assert {receipt.state for receipt in receipts if isinstance(receipt, Receipt)} == {ReceiptState.NOT_APPLICABLE}
    assert all(answer[3:].strip().decode() in str(receipt.detail["reason"]) for receipt in receipts)  # type: ignore[union-attr]


def test_the_keywords_that_are_stored_count_when_another_is_not(marking: Make) -> None:
    with refusing(b"NO [LIMIT] At most 32 flags in one mailbox supported", "Important", "Spam") as server:
        (receipt,) = effect(marking(server)).apply([judged(1, "important", "spam", mailbox=INBOX)])

    assert isinstance(receipt, Receipt)
    assert receipt.state is ReceiptState.APPLIED
    assert receipt.detail["keywords"] == ["AIProcessed"]
    assert "At most 32 flags" in str(receipt.detail["reason"])


def test_the_mails_for_which_it_was_done_all_the_same_are_told_apart(marking: Make) -> None:
    with refusing(b"NO [LIMIT] too many keywords on a message") as server:
        server.flags[2].add("AIProcessed")
        with pytest.raises(KeywordRefused) as refused:
            marking(server).add(INBOX, "AIProcessed", [1, 2, 3])

    assert refused.value.proved == {2}


def test_a_keyword_that_only_the_old_session_shows_is_not_stored(marking: Make) -> None:
    """Dovecot on a Maildir whose disk is full: OK, found by the same session, and gone with it."""
    with ScriptedImap(dict.fromkeys(range(1, 4), MAIL)) as server:

        def forgets(command: str) -> None:
            if command.startswith("LOGIN"):
                for flags in server.flags.values():
                    flags.clear()

        server.script = forgets
        with pytest.raises(StoreUnavailable, match="disk may be full"):
            marking(server).add(INBOX, "AIProcessed", [1, 2, 3])


def test_every_folder_is_proved_in_a_fresh_session_and_not_every_store(marking: Make) -> None:
    with ScriptedImap(dict.fromkeys(range(1, 4), MAIL)) as server:
        marker = marking(server)
        for _ in range(10):
            assert marker.add(INBOX, "AIProcessed", [1, 2, 3]) == {1, 2, 3}

        assert server.connections == 2
        assert marker.add(MailboxKey("bob@127.0.0.1", "Other", 7), "AIProcessed", [1]) == {1}
        assert server.connections == 3


def test_one_mail_of_many_that_is_not_kept_is_refused_alone(marking: Make) -> None:
    with ScriptedImap(dict.fromkeys(range(1, 4), MAIL)) as server:

        def forgets(command: str) -> None:
            if command.startswith("LOGIN"):
                server.flags[2].clear()

        server.script = forgets
        answers = list(effect(marking(server)).apply([judged(uid, mailbox=INBOX) for uid in (1, 2, 3)]))

    assert [type(answer) for answer in answers] == [Receipt, Unapplied, Receipt]


KEYWORDS_OF_CATEGORIES = {"Bills": "Bills", "News": "News", "Travel": "Travel"}


def test_a_server_that_takes_only_some_keywords_refuses_the_others_alone(marking: Make) -> None:
    with ScriptedImap(dict.fromkeys(range(1, 4), MAIL), permanent_flags=r"(\Seen bills AIProcessed)") as server:
        marks = FlagsEffect(marking(server), processed_tag="AIProcessed", keywords=KEYWORDS_OF_CATEGORIES)
        receipts = list(marks.apply([judged(1, "Bills", mailbox=INBOX), judged(2, "News", mailbox=INBOX)]))

        assert [receipt.state for receipt in receipts if isinstance(receipt, Receipt)] == [ReceiptState.APPLIED] * 2
        assert [receipt.detail["refused"] for receipt in receipts if isinstance(receipt, Receipt)] == [[], ["News"]]
        assert server.flags[1] == {"Bills", "AIProcessed"}
        assert not [command for command in server.said("UID STORE") if "News" in command or "Travel" in command]


def test_a_server_that_passes_over_a_keyword_too_many_refuses_it_alone(marking: Make) -> None:
    """OK to the STORE, no keyword afterwards, and no `\\*` at the next SELECT."""
    with ScriptedImap(dict.fromkeys(range(1, 4), MAIL)) as server:

        def is_full(command: str) -> list[bytes] | None:
            if command.startswith("UID STORE") and "News" in command:
                server.permanent_flags = r"(\Seen Bills AIProcessed)"
                return [b"{tag} OK STORE completed"]
            return None

        server.script = is_full
        marks = FlagsEffect(marking(server), processed_tag="AIProcessed", keywords=KEYWORDS_OF_CATEGORIES)
        receipts = list(
            marks.apply([judged(uid, label, mailbox=INBOX) for uid, label in ((1, "Bills"), (2, "News"), (3, "News"))])
        )
        again = list(marks.apply([judged(1, "News", mailbox=INBOX)]))

    assert [type(receipt) for receipt in (*receipts, *again)] == [Receipt] * 4
    assert [receipt.detail["refused"] for receipt in receipts if isinstance(receipt, Receipt)] == [
        [],
        ["News"],
        ["News"],
    ]
    assert len([command for command in server.said("UID STORE") if "News" in command]) == 1
