"""Taking keywords back on servers with a mind of their own: Gmail's labels, read-only folders, full keyword lists."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from backfill.effects.flags import FlagsEffect
from backfill.errors import EffectRefused, MailboxChanged
from backfill.mail.login import ImapAccount
from backfill.mail.source import ImapMarker
from backfill.message import MailboxKey
from backfill.ports import Judged, Receipt, Unapplied, Undone
from tests.support.judged import judged
from tests.support.scripted_imap import ScriptedImap

INBOX = MailboxKey("bob@127.0.0.1", "INBOX", 7)
MAIL = b"From: a@b\r\nSubject: hello\r\n\r\nHello\r\n"
KEYWORDS = {"important": "Important", "spam": "Spam"}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedImap], ImapAccount]:
    monkeypatch.setenv("MAILBOX_PASSWORD", "secret")
    return lambda server: ImapAccount(
        "127.0.0.1", "bob", port=server.port, security="none", password_env="MAILBOX_PASSWORD", timeout_s=5
    )


def flags_on(account: ImapAccount, *, gmail_labels: bool = False) -> FlagsEffect:
    marker = ImapMarker(account, gmail_labels=gmail_labels)
    return FlagsEffect(marker, processed_tag="AIProcessed", keywords=KEYWORDS)


def mails(*labels: str, before: frozenset[str] = frozenset()) -> list[Judged]:
    return [
        judged(1, *labels, flags_before=before, mailbox=INBOX),  # type: ignore[arg-type]
        judged(2, mailbox=INBOX),
    ]


def applied(effect: FlagsEffect, given: list[Judged]) -> list[Receipt]:
    return [receipt for receipt in effect.apply(given) if isinstance(receipt, Receipt)]


def undone(account: ImapAccount, receipts: list[Receipt]) -> list[Undone | Unapplied]:
    with closing(flags_on(account)) as effect:
        return list(effect.undo(receipts))


def test_gmails_labels_of_ours_go_and_the_owners_stay(account: Callable[[ScriptedImap], ImapAccount]) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}, capabilities="X-GM-EXT-1", permanent_flags="()") as server:
        server.labels[1] = {"Family", "Spam"}
        effect = flags_on(account(server), gmail_labels=True)
        receipts = applied(effect, mails("important", "spam", before=frozenset({"Family", "Spam"})))
        assert server.labels == {1: {"Family", "Spam", "Important", "AIProcessed"}, 2: {"AIProcessed"}}

        answers = list(effect.undo(receipts))
        effect.close()

    assert [type(answer) for answer in answers] == [Undone, Undone]
    assert server.labels == {1: {"Family", "Spam"}, 2: set()}
    assert server.flags == {1: set(), 2: set()}


def test_a_read_only_folder_is_named_and_its_keywords_can_be_taken_back_later(
    account: Callable[[ScriptedImap], ImapAccount],
) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}) as server:
        effect = flags_on(account(server))
        receipts = applied(effect, mails("spam"))
        effect.close()
        is_read_only = True

        def script(command: str) -> list[bytes] | None:
            if command.startswith("SELECT") and is_read_only:
                return [*server._opened()[:-1], b"* OK [READ-ONLY] only looking", b"{tag} OK [READ-ONLY] done"]
            return None

        server.script = script
        refused = undone(account(server), receipts)
        is_read_only = False
        answers = undone(account(server), receipts)

    for answer in refused:
        assert isinstance(answer, Unapplied)
        assert isinstance(answer.error, EffectRefused)
        assert "'INBOX'" in str(answer.error)
        assert "read-only" in str(answer.error)
    assert [type(answer) for answer in answers] == [Undone, Undone]
    assert server.flags == {1: set(), 2: set()}


def test_keywords_can_be_taken_back_from_a_folder_that_takes_no_new_ones(
    account: Callable[[ScriptedImap], ImapAccount],
) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}, permanent_flags="(\\Seen AIProcessed)") as server:
        effect = flags_on(account(server))
        receipts = applied(effect, mails("spam"))
        assert server.flags == {1: {"AIProcessed"}, 2: {"AIProcessed"}}

        answers = list(effect.undo(receipts))
        effect.close()

    assert [type(answer) for answer in answers] == [Undone, Undone]
    assert server.flags == {1: set(), 2: set()}


def test_in_a_rebuilt_folder_nothing_is_stored(account: Callable[[ScriptedImap], ImapAccount]) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}) as server:
        effect = flags_on(account(server))
        receipts = applied(effect, mails())
        effect.close()
        server.uidvalidity = 8
        stores = len(server.said("UID STORE"))

        with pytest.raises(MailboxChanged):
            undone(account(server), receipts)

        assert len(server.said("UID STORE")) == stores
    assert server.flags == {1: {"AIProcessed"}, 2: {"AIProcessed"}}
