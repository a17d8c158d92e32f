"""`analytics.jsonl`: exactly the ledger's outcomes, whatever has happened to the file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from backfill.analytics import AnalyticsFile
from backfill.errors import EffectUnavailable
from backfill.fingerprint import Fingerprint
from backfill.message import Content, Message, MessageRef
from tests.support.bench import INBOX, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.mailbox.holds(*range(1, 21))
    yield bench
    bench.ledger.close()


@pytest.fixture
def file(bench: Bench) -> Path:
    return bench.folder / "analytics.jsonl"


def uids(file: Path) -> list[int]:
    return sorted(json.loads(line)["uid"] for line in file.read_text().splitlines())


def test_each_outcome_has_one_line(bench: Bench, file: Path) -> None:
    bench.run(analytics=True)

    assert uids(file) == list(range(1, 21))
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_tail_that_a_crash_left_is_cut_off(bench: Bench, file: Path) -> None:
    bench.run(analytics=True, max_emails=10)
    with file.open("a") as torn:
        torn.write('{"account": "owner@exam')

    bench.run(analytics=True)

    assert uids(file) == list(range(1, 21))


def test_a_file_that_was_moved_away_is_written_anew(bench: Bench, file: Path) -> None:
    bench.run(analytics=True, max_emails=10)
    file.unlink()

    bench.run(analytics=True)

    assert uids(file) == list(range(1, 21))


def test_a_line_names_its_job_and_the_dates_of_its_mail(bench: Bench, file: Path) -> None:
    sent, received = datetime(2019, 2, 3, 4, 5, tzinfo=UTC), datetime(2019, 2, 3, 4, 6, tzinfo=UTC)
    ref = MessageRef(INBOX, 3)
    bench.mailbox.odd[3] = lambda: Message(ref, Content(subject="dated"), frozenset(), received, sent, 10)

    bench.run(analytics=True)

    lines = {line["uid"]: line for line in map(json.loads, file.read_text().splitlines())}
    assert {line["job"] for line in lines.values()} == {1}
    assert (lines[3]["sent_at"], lines[3]["received_at"]) == (
        "2019-02-03T04:05:00.000000Z",
        "2019-02-03T04:06:00.000000Z",
    )
    assert (lines[4]["sent_at"], lines[4]["received_at"]) == (None, None)


def test_the_same_mail_under_a_second_job_supersedes_the_first(bench: Bench, file: Path) -> None:
    bench.run(analytics=True)
    bench.classifier.fingerprint = Fingerprint.of("another prompt", classifier="bench")
    bench.run(dry_run=True)
    bench.mailbox.holds(21)

    bench.run(analytics=True)

    told = [(line["job"], line["uid"], line["supersedes"]) for line in map(json.loads, file.read_text().splitlines())]
    assert {(job, uid > 20, supersedes) for job, uid, supersedes in told} == {
        (1, False, False),
        (3, False, True),
        (3, True, False),
    }


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace('"spam_score": 1', '"spam_score": 1, "note": "mine"', 1),
        lambda text: "an owner's own line\n" + text,
        lambda text: text.replace("\n", "\n\n", 1),
    ],
    ids=["a key more", "a line more", "an empty line"],
)
def test_an_edited_file_is_named_and_not_cut(bench: Bench, file: Path, edit) -> None:
    bench.run(analytics=True, max_emails=10)
    file.write_text(edit(file.read_text()))
    edited = file.read_text()

    with pytest.raises(EffectUnavailable, match="was edited"):
        bench.run(analytics=True)

    assert "was edited" in str(AnalyticsFile(bench.ledger, file).difference())
    assert file.read_text() == edited


def test_an_edited_file_that_is_moved_away_is_written_anew(bench: Bench, file: Path) -> None:
    bench.run(analytics=True)
    file.write_text("mine\n" + file.read_text())
    file.rename(file.with_suffix(".old"))

    AnalyticsFile(bench.ledger, file).catch_up()

    assert uids(file) == list(range(1, 21))


@pytest.mark.parametrize("renamed", ["folder", "host"])
def test_a_file_is_known_by_its_content_where_host_or_folder_have_another_name(
    bench: Bench, file: Path, renamed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run(analytics=True, max_emails=10)
    if renamed == "folder":
        file = file.rename(tmp_path / "renamed.jsonl")
    else:
        monkeypatch.setattr("socket.gethostname", lambda: "another-container")
    analytics = AnalyticsFile(bench.ledger, file)
    bench.run()

    before = analytics.difference()
    analytics.catch_up()

    assert "not up to date" in str(before)
    assert uids(file) == list(range(1, 21))
    assert analytics.difference() is None


def test_what_a_full_disk_left_torn_is_named_and_brought_up_to_date(bench: Bench, file: Path) -> None:
    bench.run(analytics=True)
    lines = file.read_text().splitlines(keepends=True)
    sink = bench.ledger.outcomes.sinks()[0]
    kept = "".join(lines[:3])
    bench.ledger.outcomes.advance(sink, replace(sink, committed_bytes=len(kept), last_outcome_id=3))
    file.write_text(kept + lines[3][:20])
    analytics = AnalyticsFile(bench.ledger, file)

    before = analytics.difference()
    analytics.catch_up()

    assert "not up to date" in str(before)
    assert uids(file) == list(range(1, 21))
    assert analytics.difference() is None


def test_a_pipe_or_a_device_in_its_place_is_refused_and_not_waited_for(bench: Bench, file: Path) -> None:
    os.mkfifo(file)
    analytics = AnalyticsFile(bench.ledger, file)

    with pytest.raises(EffectUnavailable, match="no regular file"):
        analytics.difference()
    with pytest.raises(EffectUnavailable, match="no regular file"):
        analytics.catch_up()


@pytest.mark.timeout(10)
def test_a_folder_that_takes_no_file_is_named_at_once(bench: Bench) -> None:
    with pytest.raises(EffectUnavailable, match="cannot be written: No such file"):
        AnalyticsFile(bench.ledger, Path("/proc/analytics.jsonl")).catch_up()


def test_what_somebody_appended_is_said_to_be_cut_off(bench: Bench, file: Path) -> None:
    bench.run(analytics=True)
    file.write_text(file.read_text() + "{}\n")

    sentence = AnalyticsFile(bench.ledger, file).difference()

    assert "cut off" in str(sentence)


def test_a_file_whose_last_mail_was_removed_from_the_ledger_is_written_anew(bench: Bench, file: Path) -> None:
    bench.run(analytics=True)
    last = bench.ledger.outcomes.sinks()[0].last_outcome_id
    bench.ledger.outcomes.database.write(
        lambda connection: connection.execute(text("DELETE FROM outcome WHERE id = :last"), {"last": last})
    )
    analytics = AnalyticsFile(bench.ledger, file)

    before = analytics.difference()
    analytics.catch_up()

    assert "no longer in the ledger" in str(before)
    assert len(uids(file)) == 19
    assert analytics.difference() is None


def test_a_file_of_somebody_else_is_left_alone_and_no_call_is_made(bench: Bench, file: Path) -> None:
    file.write_text('{"uid": 1, "of": "an older system"}\n')

    with pytest.raises(EffectUnavailable, match="move it away"):
        bench.run(analytics=True)
    with pytest.raises(EffectUnavailable, match="move it away"):
        AnalyticsFile(bench.ledger, file).catch_up()

    assert file.read_text() == '{"uid": 1, "of": "an older system"}\n'
    assert bench.classifier.asked_about == []
