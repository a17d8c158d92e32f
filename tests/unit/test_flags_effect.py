"""Keywords are set where the verdict says so, proved, and never taken from their owner."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backfill.effects.flags import FlagsEffect
from backfill.errors import EffectRefused, MailboxChanged, MessageGone
from backfill.message import MailboxKey
from backfill.ports import Receipt, ReceiptState, Unapplied
from backfill.rubric import Rubric
from tests.support.judged import INBOX, judged
from tests.support.memory_marker import MemoryMarker


def flags_on(marker: MemoryMarker, *, processed_tag: str = "AIProcessed", **tags: str) -> FlagsEffect:
    return FlagsEffect(marker, processed_tag=processed_tag, keywords=Rubric.default(**tags).keywords)


def test_every_mail_gets_the_processed_keyword_and_those_of_its_labels():
    marker = MemoryMarker(INBOX)
    marker.holds(1, 2, 3)

    receipts = list(flags_on(marker).apply([judged(1), judged(2, "important"), judged(3, "spam")]))

    assert marker.mails == {1: {"AIProcessed"}, 2: {"AIProcessed", "Important"}, 3: {"AIProcessed", "Spam"}}
    assert [receipt.detail for receipt in receipts] == [
        {"keywords": ["AIProcessed"], "added": ["AIProcessed"], "refused": []},
        {"keywords": ["Important", "AIProcessed"], "added": ["Important", "AIProcessed"], "refused": []},
        {"keywords": ["Spam", "AIProcessed"], "added": ["Spam", "AIProcessed"], "refused": []},
    ]


def test_the_processed_keyword_is_written_last():
    marker = MemoryMarker(INBOX)
    marker.holds(1)

    list(flags_on(marker).apply([judged(1, "important", "spam")]))

    assert [keyword for verb, keyword, _ in marker.commands if verb == "add"] == ["Important", "Spam", "AIProcessed"]


def test_a_keyword_that_the_server_forgets_leaves_the_mail_unapplied():
    marker = MemoryMarker(INBOX)
    marker.holds(1, 2)
    marker.deaf.add(2)

    first, second = flags_on(marker).apply([judged(1), judged(2)])

    assert isinstance(first, Receipt)
    assert isinstance(second, Unapplied)
    assert isinstance(second.error, EffectRefused)
    assert "AIProcessed" in str(second.error)


def test_a_mail_that_was_expunged_since_it_was_judged_is_gone_and_not_refused():
    marker = MemoryMarker(INBOX)
    marker.holds(1, 3)
    marker.deaf.add(3)

    first, second, third = flags_on(marker).apply([judged(1), judged(2), judged(3)])

    assert isinstance(first, Receipt)
    assert isinstance(second, Unapplied)
    assert isinstance(second.error, MessageGone)
    assert isinstance(third, Unapplied)
    assert isinstance(third.error, EffectRefused)
    assert [uids for verb, _, uids in marker.commands if verb == "present"] == [(2, 3)]


def test_a_folder_that_keeps_no_keywords_makes_the_effect_not_applicable_with_the_reason():
    marker = MemoryMarker(INBOX, permanent_flags=["\\Seen"])
    marker.holds(1)

    (receipt,) = flags_on(marker).apply([judged(1, "spam")])

    assert receipt.state is ReceiptState.NOT_APPLICABLE
    assert receipt.detail["refused"] == ["Spam", "AIProcessed"]
    assert "PERMANENTFLAGS" in receipt.detail["reason"]
    assert marker.mails == {1: set()}


def test_a_folder_that_keeps_some_keywords_gets_those_and_the_receipt_names_the_rest():
    marker = MemoryMarker(INBOX, permanent_flags=["aiprocessed"])
    marker.holds(1)

    (receipt,) = flags_on(marker).apply([judged(1, "spam")])

    assert receipt.state is ReceiptState.APPLIED
    assert receipt.detail == {"keywords": ["AIProcessed"], "added": ["AIProcessed"], "refused": ["Spam"]}
    assert marker.keywords_of(1) == {"AIProcessed"}


def test_a_label_that_no_longer_holds_is_taken_back():
    marker = MemoryMarker(INBOX)
    marker.holds(1)
    (before,) = flags_on(marker).apply([judged(1, "important")])

    (after,) = flags_on(marker).apply([replace(judged(1, "spam"), previous=before.detail)])

    assert marker.keywords_of(1) == {"AIProcessed", "Spam"}
    assert after.detail["added"] == ["Spam", "AIProcessed"]


def test_a_keyword_that_the_configuration_no_longer_names_is_taken_back():
    marker = MemoryMarker(INBOX)
    marker.holds(1)
    (before,) = flags_on(marker, spam_tag="Junk").apply([judged(1, "spam")])

    (after,) = flags_on(marker).apply([replace(judged(1, "spam"), previous=before.detail)])

    assert marker.keywords_of(1) == {"AIProcessed", "Spam"}
    assert after.detail["added"] == ["Spam", "AIProcessed"]


def test_keywords_that_we_added_are_still_ours_when_the_folder_has_become_read_only():
    marker = MemoryMarker(INBOX)
    marker.holds(1, keywords=["Keep"])
    mail = judged(1, "spam", flags_before=frozenset({"Keep"}))
    (before,) = flags_on(marker).apply([mail])
    read_only = MemoryMarker(INBOX, permanent_flags=[])
    read_only.mails, read_only.deaf = marker.mails, {1}

    (after,) = flags_on(read_only).apply([replace(mail, labels=("spam", "important"), previous=before.detail)])
    list(flags_on(marker).undo([after]))

    assert after.state is ReceiptState.NOT_APPLICABLE
    assert marker.keywords_of(1) == {"Keep"}


def test_one_of_our_keywords_that_the_owner_sets_himself_stays():
    marker = MemoryMarker(INBOX)
    marker.holds(1)
    (before,) = flags_on(marker).apply([judged(1)])
    marker.add(INBOX, "Spam", [1])

    list(flags_on(marker).apply([replace(judged(1, "important"), previous=before.detail)]))

    assert marker.keywords_of(1) == {"AIProcessed", "Spam", "Important"}


def test_after_a_crash_what_was_about_to_be_set_is_known_as_ours():
    marker = MemoryMarker(INBOX)
    marker.holds(1)
    (intended,) = flags_on(marker).presumed([judged(1, "important")])
    list(flags_on(marker).apply([judged(1, "important")]))  # and crashes: no receipt

    list(flags_on(marker).apply([replace(judged(1), previous=intended.detail)]))

    assert marker.keywords_of(1) == {"AIProcessed"}


@pytest.mark.parametrize(
    ("labels", "tags", "holds"),
    [
        (("spam",), {}, True),
        (("spam",), {"important_tag": "Wichtig"}, True),  # this mail is not important
        (("spam",), {"spam_tag": "SPAM"}, True),
        (("spam",), {"spam_tag": "Junk"}, False),
        (("spam",), {"processed_tag": "Seen by AI"}, False),
        ((), {}, False),
        (("spam", "important"), {}, False),
    ],
)
def test_a_receipt_holds_as_long_as_the_same_keywords_follow(labels, tags, holds):
    marker = MemoryMarker(INBOX)
    marker.holds(1)
    (receipt,) = flags_on(marker).apply([judged(1, "spam")])

    assert flags_on(marker, **tags).holds(receipt.detail, labels) is holds


def test_a_keyword_that_the_server_refuses_is_not_tried_again_and_again():
    marker = MemoryMarker(INBOX, permanent_flags=["AIProcessed"])
    marker.holds(1)
    (receipt,) = flags_on(marker).apply([judged(1, "spam")])

    assert flags_on(marker).holds(receipt.detail, ("spam",))


@pytest.mark.parametrize("spelling", ["Important", "IMPORTANT", "important"])
def test_a_keyword_that_the_owner_had_set_stays(spelling):
    marker = MemoryMarker(INBOX)
    marker.holds(1, keywords=[spelling])

    list(flags_on(marker).apply([judged(1, flags_before=frozenset({spelling}))]))

    assert spelling in marker.keywords_of(1)


def test_one_keyword_for_two_labels_is_set_once_and_not_taken_back_by_the_other():
    marker = MemoryMarker(INBOX)
    marker.holds(1)
    effect = FlagsEffect(marker, processed_tag="AIProcessed", keywords={"important": "Flagged", "spam": "flagged"})

    (receipt,) = effect.apply([judged(1, "important")])

    assert marker.keywords_of(1) == {"flagged", "AIProcessed"}
    assert receipt.detail == {
        "keywords": ["flagged", "AIProcessed"],
        "added": ["flagged", "AIProcessed"],
        "refused": [],
    }


def test_a_category_without_a_keyword_gets_none():
    marker = MemoryMarker(INBOX)
    marker.holds(1)

    (receipt,) = FlagsEffect(marker, processed_tag="AIProcessed", keywords={"Bill": "Bill"}).apply([judged(1, "Other")])

    assert marker.keywords_of(1) == {"AIProcessed"}
    assert receipt.state is ReceiptState.APPLIED


def test_a_keyword_that_no_mail_of_the_batch_needs_costs_no_command():
    marker = MemoryMarker(INBOX)
    marker.holds(1, 2)
    keywords = {f"label {number}": f"K{number}" for number in range(48)}

    list(FlagsEffect(marker, processed_tag="AIProcessed", keywords=keywords).apply([judged(1, "label 7"), judged(2)]))

    assert [(verb, word, uids) for verb, word, uids in marker.commands if verb != "permitted"] == [
        ("add", "K7", (1,)),
        ("add", "AIProcessed", (1, 2)),
    ]


def test_a_folder_that_is_full_of_keywords_refuses_the_rest_alone():
    marker = MemoryMarker(INBOX, most=26)
    marker.holds(*range(1, 41))
    effect = FlagsEffect(marker, processed_tag="AIProcessed", keywords={f"c{n}": f"K{n}" for n in range(1, 41)})
    list(effect.apply([judged(1)]))  # the processed keyword is one of those that the folder keeps

    receipts = list(effect.apply([judged(uid, f"c{uid}") for uid in range(1, 41)]))

    assert [type(each) for each in receipts] == [Receipt] * 40
    assert {each.state for each in receipts} == {ReceiptState.APPLIED}
    lacking = [each.detail["refused"] for each in receipts if each.detail["refused"]]
    assert lacking == [[f"K{number}"] for number in range(26, 41)]
    assert all("no more keywords" in each.detail["reason"] for each in receipts if each.detail["refused"])
    assert marker.keywords_of(25) == {"K25", "AIProcessed"}
    assert marker.keywords_of(26) == {"AIProcessed"}


def test_the_server_is_asked_once_for_the_keywords_it_keeps():
    marker = MemoryMarker(INBOX)
    marker.holds(1, 2)
    effect = flags_on(marker)

    list(effect.apply([judged(1)]))
    list(effect.apply([judged(2)]))

    assert sum(verb == "permitted" for verb, _, _ in marker.commands) == 1


def test_a_new_epoch_of_the_folder_is_everybodys_matter():
    marker = MemoryMarker(INBOX)

    with pytest.raises(MailboxChanged):
        list(flags_on(marker).apply([judged(1, mailbox=MailboxKey(INBOX.account, "INBOX", 8))]))


def test_the_connection_is_closed_with_the_effect():
    marker = MemoryMarker(INBOX)

    flags_on(marker).close()

    assert marker.is_closed
