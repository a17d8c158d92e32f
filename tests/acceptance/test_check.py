"""`backfill check`: what works, what does not, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backfill.check_parts import CheckParts
from backfill.clock import StopRequest, SystemClock
from backfill.ledger import Ledger
from backfill.operations.check import exit_code, probe_all
from backfill.operations.parts import Audience
from backfill.ports import Probe, State
from backfill.settings import load
from backfill.throttle.calls import Throttler
from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Response, completion, verdict
from tests.support.bench import Observed
from tests.support.dovecot import PASSWORD
from tests.support.project import KEY, Project, letter
from tests.support.scripted_imap import ScriptedImap

ANSWERS = Path(__file__, "../../answers").resolve()


@pytest.fixture(autouse=True)
def openrouter(api: ApiServer) -> None:
    for page in ("models", "key"):
        api.offer(f"/{page}", json.loads((ANSWERS / f"{page}_openrouter.json").read_text("utf-8")))


def probes(project: Project, *, may_call: bool = True, stop: StopRequest | None = None) -> tuple[int, dict[str, Probe]]:
    """What the command would print, without the start of a process for each. `stop` comes while it is asked."""

    def agree(question: str) -> bool:
        if stop is not None:
            stop.set("SIGINT")
        return True

    audience = Audience(SystemClock(), stop or StopRequest(), Observed(), None, lambda sentence: None)
    parts = CheckParts(load(project.config, project.folder / ".env"), audience)
    found = list(probe_all(parts, audience, agree if may_call else None))
    parts.close()
    assert KEY not in repr(found)
    return exit_code(found), {probe.name: probe for probe in found}


def test_everything_that_works_is_said_to_work_and_nothing_is_touched(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1))

    done = project.run("check", "--yes")

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"ok"}
    for part in (
        "mail login",
        "the same in two sessions",
        "importance from 8 on (Important); spam from 5 on (Spam)",
        "INBOX keeps AIProcessed, Important, Spam",
        "$7.43 of its limit are left",
        "test/model-1, $0.05 in, $0.10 out per million tokens",
        "345 tokens in, 17 out, $0.000123",
    ):
        assert part in done.stdout
    assert (api.call_count, project.flags(), project.notes()) == (1, {1: set()}, [])
    assert project.rows("SELECT api, run_id, outcome, cost_nano FROM attempt") == [
        (f"calls:{api.url}", None, "ok", 123_000)
    ]


@pytest.mark.parametrize(
    ("answer", "booked"),
    [
        (Response(503, {"error": {"code": 503}}), ("unavailable", 503, None)),
        (Response(402, {"error": {"code": 402}}), ("halted", 402, 0)),
        (Response(429, {"error": {"code": 429}}), ("rate_limited", 429, 0)),
    ],
    ids=["down", "no credit", "rate limited"],
)
def test_a_call_that_fails_is_made_once_and_noted(
    project: Project, api: ApiServer, answer: Response, booked: tuple[str, int, int | None]
) -> None:
    api.reply(answer)

    _, found = probes(project)

    assert (found["answer"].state, api.call_count) == ("fail", 1)
    assert project.rows("SELECT outcome, http_status, cost_nano FROM attempt") == [booked]


def test_a_days_calls_that_are_made_are_not_exceeded_nor_waited_for(project: Project, api: ApiServer) -> None:
    project.configure(processing={"max_per_day": 1})
    probes(project)

    code, found = probes(project)

    assert (code, found["answer"].state, project.count("attempt")) == (0, State.WARN, 1)
    assert "today's 1 calls (max_per_day) are made" in found["answer"].detail


def test_a_days_money_that_is_spent_is_not_exceeded(project: Project, api: ApiServer) -> None:
    project.configure(processing={"max_cost_usd_per_day": 0.000001})

    code, found = probes(project)

    assert (code, found["answer"].state, api.call_count) == (0, State.WARN, 0)
    assert "for another call" in found["answer"].detail


def test_without_a_call_none_is_made_and_without_anybody_to_ask_neither(project: Project, api: ApiServer) -> None:
    code, found = probes(project, may_call=False)
    asked = project.run("check", "--json")

    assert (code, asked.returncode, api.call_count) == (0, 0, 0)
    answers = [found["answer"].remedy] + [probe["remedy"] for probe in json.loads(asked.stdout)[-1:]]
    assert all("--yes" in remedy for remedy in answers)


@pytest.mark.parametrize(
    ("answer", "code", "remedy"),
    [
        (completion("", finish_reason="length"), 3, "Raise llm.max_output_tokens"),
        (completion(""), 3, "Raise llm.max_output_tokens"),
        (completion("Sure!"), 3, "llm.response_format"),
        (Response(400, {"error": {"param": "response_format", "type": "invalid_request_error"}}), 3, "json_object"),
        (Response(402, {"error": {"code": 402}}), 3, "Add credit"),
        (Response(503, {"error": {"code": 503}}), 4, "status page"),
    ],
    ids=["cut", "empty", "no json", "format refused", "no credit", "down"],
)
def test_an_api_that_does_not_answer_as_it_should_has_a_remedy(
    project: Project, api: ApiServer, answer: Response, code: int, remedy: str
) -> None:
    api.reply(answer)

    found_code, found = probes(project)

    assert found_code == code
    assert found["answer"].state == "fail"
    assert remedy in found["answer"].remedy


@contextmanager
def pace(project: Project, api: ApiServer, calls_per_minute: float) -> Iterator[Throttler]:
    """The pace of a run at work."""
    ledger = Ledger.open(f"sqlite:///{project.ledger}")
    yield Throttler(ledger, SystemClock(), f"calls:{api.url}", calls_per_minute)
    ledger.close()


def test_calls_that_are_blocked_for_long_are_not_waited_for_and_the_end_is_named(
    project: Project, api: ApiServer
) -> None:
    with pace(project, api, 600) as throttler:
        throttler.block(3600, "quota")

        code, found = probes(project)

    assert (code, found["answer"].state, api.call_count) == (0, State.WARN, 0)
    assert "quota, until 20" in found["answer"].detail


def test_a_stop_while_the_call_waits_for_its_turn_is_heeded(project: Project, api: ApiServer) -> None:
    _, found = probes(project, stop=StopRequest())

    assert (found["answer"].state, api.call_count) == (State.SKIPPED, 0)


def test_the_pace_of_a_run_at_work_stays_as_it_is(project: Project, api: ApiServer) -> None:
    with pace(project, api, 600) as throttler:
        code, _ = probes(project)

        assert round(throttler.pace_in_force()) == 600
    assert (code, api.call_count) == (0, 1)


def test_a_refused_key_and_a_model_that_is_not_listed_are_told_without_a_call(project: Project, api: ApiServer) -> None:
    api.offer("/key", {"error": {"code": 401}}, status=401)
    project.configure(llm={"model": "test/model-3"})

    code, found = probes(project)

    assert code == 3
    assert (found["API key"].state, found["answer"].state) == ("fail", "skipped")
    assert found["model"].state == "warn"
    assert "similar names: test/model-" in found["model"].remedy
    assert api.call_count == 0


def test_used_up_credit_and_a_model_without_schemas_are_told(project: Project, api: ApiServer) -> None:
    api.offer("/key", {"data": {"limit_remaining": 0}})
    project.configure(llm={"model": "test/model-2"})

    code, found = probes(project)

    assert code == 3
    assert "used up" in found["API key"].detail
    assert "structured_outputs" in found["model"].detail


def test_a_server_that_says_nothing_of_itself_is_asked_all_the_same(project: Project, api: ApiServer) -> None:
    for page in ("/models", "/key"):
        api.offer(page, {}, status=404)
    api.reply(verdict(7, 2))

    code, found = probes(project)

    assert code == 0
    assert "no list" in found["model"].detail
    assert "importance 7, spam 2" in found["answer"].detail


def test_a_wrong_password_is_refused_and_the_rest_is_probed_all_the_same(project: Project) -> None:
    project.hide(IMAP_PASSWORD="wrong", OPENROUTER_API_KEY=KEY)

    code, found = probes(project)

    assert code == 3
    assert found["mail server"].state == "fail"
    assert found["answer"].state == "ok"


def test_the_worst_of_several_troubles_is_the_exit_code(project: Project, api: ApiServer) -> None:
    (project.folder / "config/note.md.j2").write_text("{{ broken")
    (project.folder / "config/prompt.md").unlink()
    project.configure(imap={"port": 1})

    code, found = probes(project)

    assert code == 2
    assert {name for name, probe in found.items() if probe.state == "fail"} == {
        "note template",
        "mail server",
        "prompt",
    }
    assert found["mail server"].exit_code == 4
    assert api.call_count == 0


def test_too_little_room_for_an_answer_is_warned_of(project: Project) -> None:
    project.ask({"categories": {"Bill": {"means": "a bill"}, "Other": {"means": "all else"}}, "reason": True})
    project.configure(llm={"max_output_tokens": 200})
    _, narrow = probes(project, may_call=False)
    project.configure(llm={"max_output_tokens": None})
    _, wide = probes(project, may_call=False)

    assert narrow["room"].state is State.WARN
    assert "allows 200 tokens; an answer to the rubric takes up to 320" in narrow["room"].detail
    assert "max_output_tokens: null" in narrow["room"].remedy
    assert "room" not in wide


def test_the_rules_need_no_api(project: Project, api: ApiServer) -> None:
    project.configure(classifier="heuristic")
    project.hide(IMAP_PASSWORD=PASSWORD)

    code, found = probes(project)

    assert code == 0
    assert "API key" not in found
    assert api.pages_asked_for == []


def listing(then: Callable[[str], list[bytes] | None] = lambda command: None) -> Callable[[str], list[bytes] | None]:
    """A server's script: one folder, and what `then` says."""

    def script(command: str) -> list[bytes] | None:
        if command.startswith("LIST"):
            return [b'* LIST () "/" INBOX', b"{tag} OK done"]
        return then(command)

    return script


def test_a_server_that_keeps_no_keywords_is_warned_of_and_none_was_tried(project: Project) -> None:
    with ScriptedImap(script=listing(), permanent_flags=r"(\Seen \Deleted)") as server:
        project.configure(imap={"server": server.host, "port": server.port})

        code, found = probes(project, may_call=False)

    assert (code, found["keywords"].state) == (0, State.WARN)
    assert "does not keep AIProcessed, Important, Spam" in found["keywords"].detail
    assert "gmail_labels" in found["keywords"].remedy
    assert server.said("UID STORE") == []


def test_a_server_that_asks_for_patience_has_refused_nothing(project: Project) -> None:
    with ScriptedImap(greeting=b"* BYE [ALERT] Too many connections from your IP") as server:
        project.configure(imap={"server": server.host, "port": server.port})

        code, found = probes(project, may_call=False)

    assert (code, found["mail server"].state) == (4, State.FAIL)
    assert "Too many connections" in found["mail server"].detail


def test_a_server_that_renumbers_its_mails_is_warned_of(project: Project) -> None:
    server = ScriptedImap()

    def renumber(command: str) -> None:
        server.uidvalidity += command.startswith("LOGOUT")

    server.script = listing(renumber)
    with server:
        project.configure(imap={"server": server.host, "port": server.port})

        code, found = probes(project, may_call=False)

    assert (code, found["UIDVALIDITY"].state) == (0, State.WARN)
    assert "7, then 8" in found["UIDVALIDITY"].detail


@pytest.mark.parametrize("command", [("check", "--no-call"), ("folders",)])
def test_what_looking_reads_counts_for_the_bytes_of_the_day(project, mailbox, command):
    mailbox.holds(letter(1))
    project.configure(imap={"max_bytes_per_day": 1_000_000})
    with project.mail_program() as client:
        for number in range(30):
            client.create_folder(f"Folder {number}")

    project.run(*command)

    [(arrival,)] = project.rows("SELECT arrival_us FROM throttle WHERE name LIKE 'imap:%'")
    assert arrival > 0


def test_a_value_of_env_that_is_cut_is_named(project):
    (project.folder / ".env").write_text("IMAP_PASSWORD=half #other\nOPENROUTER_API_KEY=key\n")

    done = project.run("check", "--no-call")

    assert "Line 1: the value of IMAP_PASSWORD ends before ` #`" in done.stdout
    assert "half" not in done.stdout + done.stderr
