"""A ledger that knows nothing of mail which was processed before: perhaps it is the wrong one."""

from __future__ import annotations

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.project import Project, complaints, letter

KNOWN_TO_NOBODY = "The server has the keyword of processed mail on 2 mails already"


def begin_anew(project: Project) -> None:
    """With a ledger that knows nothing, as after `paths.ledger_url` was mistyped."""
    for path in (project.ledger, project.folder / "var/analytics.jsonl"):
        path.unlink()


def test_a_new_ledger_over_processed_mail_asks_before_it_pays_again(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes")
    begin_anew(project)

    refused = project.run("run")

    assert refused.returncode == 2
    (complaint,) = complaints(refused.stderr)
    assert KNOWN_TO_NOBODY in refused.stderr
    assert "say --yes to go ahead" in complaint
    assert api.call_count == 2

    assert KNOWN_TO_NOBODY in project.succeed("run", "--yes")
    assert api.call_count == 4


def test_a_ledger_that_has_processed_mail_is_not_surprised_by_the_keyword(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes", "--max-emails", "1")

    said = project.succeed("run", "--yes") + project.succeed("run", "--yes", "--search", "ALL")

    assert "keyword" not in said


def test_mail_that_is_left_out_for_its_keyword_is_nothing_to_be_warned_of(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1))
    project.succeed("run", "--yes")
    begin_anew(project)

    said = project.succeed("run", "--yes", "--no-force-reprocess")

    assert "keyword" not in said
    assert project.report()["counts"]["skipped"] == 1
