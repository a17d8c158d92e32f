"""`backfill export`: every verdict with its mail, for other programs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.acceptance.test_surroundings import shell
from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.project import Project, complaints, letter

MAILS = 6


@pytest.fixture
def judged(project: Project, mailbox: Mailbox, api: ApiServer) -> Project:
    """A project whose mails are judged."""
    mailbox.holds(*(letter(number) for number in range(1, MAILS + 1)))
    project.succeed("run", "--yes")
    return project


def test_every_verdict_is_on_standard_output_with_its_mail(judged: Project) -> None:
    told = judged.run("export")

    rows = [json.loads(row) for row in told.stdout.splitlines()]
    assert [row["uid"] for row in rows] == list(range(1, MAILS + 1))
    assert {row["sender"] for row in rows} == {"Ada Lovelace <ada@example.com>"}
    assert {(row["job"], row["status"], row["superseded"]) for row in rows} == {(1, "done", False)}
    assert {row["sent_at"] for row in rows} == {"2024-06-03T10:00:00.000000Z"}


@pytest.mark.parametrize("named", [("--output", "-"), ("--output=-",)])
def test_a_hyphen_names_standard_output(judged: Project, named: tuple[str, ...]) -> None:
    assert judged.run("export", *named).stdout == judged.run("export").stdout != ""


def test_a_row_holds_what_its_analytics_line_holds(judged: Project) -> None:
    rows = [json.loads(row) for row in judged.run("export").stdout.splitlines()]

    lines = {line["uid"]: line for line in judged.analytics()}
    assert all(row | lines[row["uid"]] == row for row in rows)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_file_has_the_form_that_its_name_says_and_is_the_owners_alone(judged: Project, suffix: str) -> None:
    told = judged.succeed("export", "--output", f"mails.{suffix}")

    path = judged.folder / f"mails.{suffix}"
    uids: list[int] = []
    match suffix:
        case "jsonl":
            uids = [json.loads(row)["uid"] for row in path.read_text().splitlines()]
        case "csv":
            with path.open(encoding="utf-8", newline="") as file:
                uids = [int(row["uid"]) for row in csv.DictReader(file)]
        case _:
            uids = pyarrow.parquet.read_table(path)["uid"].to_pylist()
    assert uids == list(range(1, MAILS + 1))
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"{path} ({MAILS} mails)" in told
    assert [each.name for each in judged.folder.iterdir() if each.name.endswith(".unfinished")] == []


def test_a_file_is_replaced_only_when_that_is_said(judged: Project) -> None:
    path = judged.folder / "mails.csv"
    path.write_text("mine")

    refused = judged.run("export", "--output", "mails.csv")
    kept = path.read_text()
    judged.succeed("export", "--output", "mails.csv", "--force")

    assert (refused.returncode, kept) == (2, "mine")
    assert "--force" in refused.stderr
    assert path.read_text().startswith("job,account,")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--output", "missing/mails.csv"), 2, "is not there; make it"),
        (("--output", "var"), 2, "does not say in which form"),
        (("--output", "var", "--format", "csv"), 2, "is a folder"),
        (("--output", "mails.txt"), 2, "add --format"),
        (("--output", "var/ledger.db", "--format", "csv", "--force"), 2, "belongs to the ledger"),
        (("--output", "var/ledger.db-wal", "--format", "csv", "--force"), 2, "belongs to the ledger"),
        (("--output", "var/analytics.jsonl", "--force"), 2, "is the analytics file"),
        (("--output", "/dev/full", "--format", "csv"), 74, "No space left"),
        (("--all-jobs", "1"), 2, "leave out the number"),
        (("17",), 2, "There is no job 17"),
        (("--format", "xml"), 2, "jsonl"),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(
    judged: Project, arguments: tuple[str, ...], code: int, said: str
) -> None:
    told = judged.run("export", *arguments)

    assert (told.returncode, len(told.stderr.splitlines())) == (code, 1), told.stderr
    assert said in told.stderr
    judged.succeed("verify")


def test_a_reader_who_leaves_is_no_error(judged: Project) -> None:
    done = shell(judged, "backfill export | head -1; exit ${PIPESTATUS[0]}")

    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_full_disk_behind_standard_output_is_named(judged: Project, form: str) -> None:
    done = shell(judged, f"backfill export --format {form} > /dev/full")

    assert done.returncode == 74
    assert "No space left on device" in done.stderr


def test_parquet_goes_through_a_pipe(judged: Project) -> None:
    done = shell(judged, "backfill export --format parquet | cat > piped.parquet")

    assert done.returncode == 0, done.stderr
    assert pyarrow.parquet.read_table(judged.folder / "piped.parquet").num_rows == MAILS


def test_a_symbolic_link_stays_and_its_file_is_written(judged: Project) -> None:
    (judged.folder / "elsewhere").mkdir()
    (judged.folder / "mails.csv").symlink_to("elsewhere/mails.csv")

    judged.succeed("export", "--output", "mails.csv")

    assert (judged.folder / "mails.csv").is_symlink()
    assert (judged.folder / "elsewhere/mails.csv").read_text().count("\n") == MAILS + 1


def test_a_dry_run_is_exported_by_its_number_and_not_with_all_jobs(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1))
    project.succeed("run", "--yes", "--dry-run")
    project.succeed("run", "--yes", "--new-job")

    alone, together = project.run("export", "1"), project.run("export", "--all-jobs")

    assert [json.loads(row)["job"] for row in alone.stdout.splitlines()] == [1]
    assert [json.loads(row)["job"] for row in together.stdout.splitlines()] == [2]


@pytest.mark.parametrize("damage", ["shortened", "edited"])
def test_a_damaged_analytics_file_is_refused_and_the_command_that_is_named_puts_it_right(
    project: Project, mailbox: Mailbox, api: ApiServer, damage: str
) -> None:
    mailbox.holds(*(letter(number) for number in range(1, 11)))
    project.succeed("run", "--yes", "--max-emails", "5")
    file = project.folder / "var/analytics.jsonl"
    whole = file.read_text()
    file.write_text(whole[:-50] if damage == "shortened" else whole.replace("{", "{ ", 1))

    refused = project.run("run", "--yes")
    verified = project.run("verify")
    command = complaints(refused.stderr)[0].rpartition("with: backfill ")[2]
    done = shell(project, f"backfill {command}")
    project.succeed("run", "--yes")

    assert (refused.returncode, verified.returncode, done.returncode) == (74, 7, 0), refused.stderr + done.stderr
    assert file.read_text().startswith(whole)
    assert sorted(line["uid"] for line in project.analytics()) == list(range(1, 11))
    assert len(api.calls) == 10
    project.succeed("verify")


def test_without_pyarrow_the_extra_is_named(judged: Project, tmp_path: Path) -> None:
    (tmp_path / "hidden/pyarrow").mkdir(parents=True)
    (tmp_path / "hidden/pyarrow/__init__.py").write_text("raise ImportError\n")

    told = judged.run("export", "--output", "mails.parquet", environment={"PYTHONPATH": str(tmp_path / "hidden")})

    assert told.returncode == 2
    assert "backfill[parquet]" in told.stderr
    assert not (judged.folder / "mails.parquet").exists()
