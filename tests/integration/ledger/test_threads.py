"""A reply finds the receipt of the mail that it answers by that mail's Message-ID."""

from __future__ import annotations

from backfill.ports import Receipt, ReceiptState
from tests.support.ledgers import ACCOUNT


def write(bench, *notes: tuple[str | None, str], state: ReceiptState = ReceiptState.APPLIED) -> None:
    """One mail for each note: its Message-ID, and the path of the note."""
    first = bench.value("SELECT COUNT(*) FROM item") + 1
    bench.plan(*range(first, first + len(notes)))
    run = bench.run()
    for item, (message_id, path) in zip(bench.claim(run), notes, strict=True):
        receipt = Receipt(item.ref, "notes", state, {"path": path}, message_id)
        bench.ledger.receipts.keep(item, bench.record(run, item).verdict, [receipt])
    bench.end(run)


def found(bench, *message_ids: str, account: str = ACCOUNT, effect: str = "notes") -> dict[str, str]:
    receipts = bench.ledger.receipts.in_threads(account, effect, message_ids)
    return {message_id: detail["path"] for message_id, detail in receipts.items()}


def test_a_receipt_is_found_by_the_message_id_of_its_mail(bench):
    write(bench, ("<1@example.com>", "1.md"), ("", "2.md"), (None, "3.md"))

    assert found(bench, "<1@example.com>", "<2@example.com>", "", "no id") == {"<1@example.com>": "1.md"}
    assert found(bench, "<1@example.com>", account="another") == {}
    assert found(bench, "<1@example.com>", effect="flags") == {}
    assert found(bench) == {}


def test_of_several_mails_with_one_message_id_the_first_receipt_is_found(bench):
    write(bench, ("<1@example.com>", "first.md"), ("<1@example.com>", "second.md"))

    assert found(bench, "<1@example.com>") == {"<1@example.com>": "first.md"}


def test_a_note_that_is_not_ours_is_not_found(bench):
    write(bench, ("<1@example.com>", "1.md"), state=ReceiptState.FOREIGN)

    assert found(bench, "<1@example.com>") == {}


def test_a_note_that_was_taken_back_is_not_found(bench):
    write(bench, ("<1@example.com>", "1.md"))
    bench.undo()

    assert found(bench, "<1@example.com>") == {}
