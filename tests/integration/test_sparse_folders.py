"""Planning over folders whose UIDs have gaps, whose server counts or lists oddly, or which do not open at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backfill.clock import StopRequest
from backfill.errors import FolderUnusable
from backfill.fingerprint import Fingerprint
from backfill.ledger import Ledger
from backfill.ledger.rows import Job
from backfill.mail.login import ImapAccount
from backfill.mail.search import read_answers
from backfill.mail.source import ImapSource
from backfill.mail.wire import ReplyTooLarge
from backfill.message import HIGHEST_UID
from backfill.operations.verify import Finding, Verification
from backfill.planner import Planned, Planner
from backfill.selection import Selection
from tests.support.bench import BenchClock
from tests.support.courier import CourierServer
from tests.support.scripted_imap import ScriptedImap

MAIL = b"From: bob@example.org\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\nSubject: s\r\n\r\ntext\r\n"


class Plans:
    """A ledger and a mail source on a scripted or real server."""

    def __init__(self, ledger: Ledger, source: ImapSource, account: str) -> None:
        self.ledger, self.source, self.account = ledger, source, account
        self.stop = StopRequest()

    def job(self, **selection: object) -> Job:
        return self.ledger.jobs.open(self.account, Selection(**selection), Fingerprint.of(), dry_run=False)  # type: ignore[arg-type]

    def plan(self, job: Job) -> Planned:
        return Planner(self.ledger, self.source, self.stop).plan(job)

    def uids(self, job: Job) -> list[int]:
        return sorted(
            uid
            for window in self.ledger.plans.ranges(job.id)
            for uid in self.ledger.items.statuses(job.id, window.mailbox_id, 0, HIGHEST_UID + 1)
        )

    def findings(self, job: Job) -> list[Finding]:
        return [each.kind for each in Verification(self.ledger, self.source, self.stop).compare(job).differences]


@pytest.fixture
def plans(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Plans]]:
    monkeypatch.setenv("MAILBOX_PASSWORD", "secret")
    ledger = Ledger.open(ledger_url, BenchClock())
    sources: list[ImapSource] = []

    def make(server: ScriptedImap | CourierServer) -> Plans:
        user = "user@example.org"
        account = ImapAccount(server.host, user, port=server.port, security="none", password_env="MAILBOX_PASSWORD")
        sources.append(ImapSource(account))
        return Plans(ledger, sources[-1], account.name)

    yield make
    for source in sources:
        source.close()
    ledger.close()


# Gaps between UIDs


@pytest.mark.parametrize(
    "uids",
    [
        (38_000_000, 38_000_001, 38_000_417),
        (1, 2_000_000_000, HIGHEST_UID),
        (HIGHEST_UID,),
        tuple(range(1, 4_000_000_001, 4_000_000)),
    ],
    ids=["three far away", "from end to end", "the last UID", "a thousand over all"],
)
def test_planning_takes_a_few_commands_however_far_apart_the_mails_lie(
    plans: Callable[..., Plans], uids: tuple[int, ...]
) -> None:
    with ScriptedImap(dict.fromkeys(uids, MAIL)) as server:
        bench = plans(server)
        job = bench.job()

        planned = bench.plan(job)

        assert (planned.new_mails, planned.is_complete) == (len(uids), True)
        assert bench.uids(job) == sorted(uids)
        assert len(server.said("UID SEARCH")) == 1
        assert len(server.commands) < 12
        assert bench.findings(job) == []


def test_a_folder_of_many_mails_is_searched_in_windows_of_mails(plans: Callable[..., Plans]) -> None:
    uids = range(1, 4_000_000_001, 250_000)
    with ScriptedImap(dict.fromkeys(uids, MAIL)) as server:
        bench = plans(server)
        job = bench.job()

        bench.plan(job)

        assert bench.uids(job) == list(uids)
        assert len(server.said("UID SEARCH")) == 4  # 16,000 mails in windows of 5,000


def test_planning_that_was_interrupted_goes_on_at_the_next_window(plans: Callable[..., Plans]) -> None:
    uids = range(7, 4_000_000_001, 350_000)
    with ScriptedImap(dict.fromkeys(uids, MAIL)) as server:
        bench = plans(server)
        job = bench.job()
        Planner(bench.ledger, bench.source, bench.stop, lambda folder, found: bench.stop.set("SIGINT")).plan(job)
        first = bench.uids(job)
        bench.stop = StopRequest()
        del server.mails[uids[100]], server.mails[uids[9_000]]  # positions move

        bench.plan(job)

        assert len(first) == 5_000
        assert bench.uids(job) == [uid for uid in uids if uid != uids[9_000]]


def test_mail_that_another_process_plans_meanwhile_is_no_trouble(plans: Callable[..., Plans]) -> None:
    with ScriptedImap(dict.fromkeys((3, 4), MAIL)) as server:
        bench = plans(server)
        job = bench.job()

        def meanwhile(folder: str, found: int) -> None:
            if 9 not in server.mails:  # it sees newer mail, and extends the plan
                server.mails[9] = MAIL
                [window] = bench.ledger.plans.ranges(job.id)
                bench.ledger.plans.freeze(job.id, window.mailbox_id, 9)

        planned = Planner(bench.ledger, bench.source, bench.stop, meanwhile).plan(job)

        assert planned.is_complete
        assert bench.uids(job) == [3, 4, 9]


def test_a_server_that_refuses_positions_is_planned_however_many_mails_it_has(plans: Callable[..., Plans]) -> None:
    uids = range(1_000_000_000, 1_000_095_000)  # 11 octets each: more than a line may have
    with ScriptedImap(
        dict.fromkeys(uids, MAIL),
        lambda command: [b"{tag} BAD no positions here"] if command.startswith("FETCH") else None,
    ) as server:
        bench = plans(server)
        job = bench.job()

        planned = bench.plan(job)

        assert (planned.new_mails, planned.is_complete) == (95_000, True)


def test_a_server_that_refuses_positions_is_planned_all_the_same(plans: Callable[..., Plans]) -> None:
    with ScriptedImap(
        dict.fromkeys((5, 38_000_000), MAIL),
        lambda command: [b"{tag} BAD no positions here"] if command.startswith("FETCH") else None,
    ) as server:
        bench = plans(server)
        job = bench.job()

        bench.plan(job)

        assert bench.uids(job) == [5, 38_000_000]


# Servers that count, and do not tell


def opened(*lines: bytes, exists: int) -> Callable[[str], list[bytes] | None]:
    def script(command: str) -> list[bytes] | None:
        if command.startswith(("EXAMINE", "SELECT")):
            return [b"* %d EXISTS" % exists, b"* OK [UIDVALIDITY 7] ok", *lines, b"{tag} OK done"]
        return None

    return script


@pytest.mark.parametrize(
    "told", [(), (b"* OK [UIDNEXT 0] next",), (b"* OK [UIDNEXT 2] next",), (b"* OK [UIDNEXT -1] next",)]
)
def test_a_missing_or_wrong_uidnext_hides_no_mail(plans: Callable[..., Plans], told: tuple[bytes, ...]) -> None:
    uids = (3, 4, 900)

    def script(command: str) -> list[bytes] | None:
        if command.startswith("UID SEARCH") and command.endswith("UID *"):
            return [b"* SEARCH", b"{tag} OK done"]
        return opened(*told, exists=3)(command)

    with ScriptedImap(dict.fromkeys(uids, MAIL), script) as server:
        bench = plans(server)
        job = bench.job()

        bench.plan(job)

        assert bench.uids(job) == [3, 4, 900]
        assert bench.findings(job) == []


FORMS = {
    "two lines": [b"* SEARCH 3 4", b"* SEARCH 900", b"{tag} OK done"],
    "with MODSEQ": [b"* SEARCH 3 4 900 (MODSEQ 917162500)", b"{tag} OK done"],
    "ESEARCH": [b'* ESEARCH (TAG "{tag}") UID ALL 3:4,900', b"{tag} OK done"],
    "ESEARCH with more": [b'* ESEARCH (TAG "{tag}") UID MIN 3 COUNT 3 ALL 3:4,900', b"{tag} OK done"],
    "ESEARCH in lower case": [b'* ESEARCH (tag "{tag}") uid all 900,4:3', b"{tag} OK done"],
    "not at all": [b"{tag} OK done"],
    "empty": [b"* SEARCH", b"{tag} OK done"],
    "empty ESEARCH": [b'* ESEARCH (TAG "{tag}") UID', b"{tag} OK done"],
    "a part": [b"* SEARCH 3", b"{tag} OK done"],
}


@pytest.mark.parametrize("answer", FORMS.values(), ids=FORMS)
def test_no_form_of_an_answer_to_search_loses_a_mail(plans: Callable[..., Plans], answer: list[bytes]) -> None:
    with ScriptedImap(
        dict.fromkeys((3, 4, 900), MAIL), lambda command: answer if command.startswith("UID SEARCH") else None
    ) as server:
        bench = plans(server)
        job = bench.job()

        bench.plan(job)

        assert bench.uids(job) == [3, 4, 900]
        assert bench.findings(job) == []


def test_a_server_whose_search_lists_nothing_cannot_be_asked_for_criteria(plans: Callable[..., Plans]) -> None:
    with ScriptedImap(
        {3: MAIL, 4: MAIL}, lambda command: [b"{tag} OK done"] if command.startswith("UID SEARCH") else None
    ) as server:
        bench = plans(server)

        with pytest.raises(FolderUnusable, match="2 mails in 'INBOX' and its SEARCH lists none"):
            bench.plan(bench.job(search="FROM bob"))


def test_criteria_that_fit_no_mail_are_no_contradiction(plans: Callable[..., Plans]) -> None:
    with ScriptedImap(
        {3: MAIL, 4: MAIL}, lambda command: [b"* SEARCH", b"{tag} OK done"] if "FROM nobody" in command else None
    ) as server:
        bench = plans(server)
        job = bench.job(search="FROM nobody")

        planned = bench.plan(job)

        assert (planned.new_mails, planned.is_complete) == (0, True)


def test_a_folder_that_counts_mails_and_lists_none_never_ends_as_found_0(plans: Callable[..., Plans]) -> None:
    def script(command: str) -> list[bytes] | None:
        if command.startswith(("UID SEARCH", "UID FETCH", "FETCH")):
            return [b"{tag} OK done"]
        return opened(b"* OK [UIDNEXT 5] next", exists=4)(command)

    with ScriptedImap({}, script) as server:
        bench = plans(server)
        job = bench.job()

        for _ in range(2):  # the second time as well
            with pytest.raises(FolderUnusable, match="holds 4 mails, but lists none"):
                bench.plan(job)

        assert Finding.UNPLANNED in bench.findings(job)


def test_verify_names_mails_that_the_server_counts_and_does_not_list(plans: Callable[..., Plans]) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}, opened(b"* OK [UIDNEXT 3] next", exists=5)) as server:
        bench = plans(server)
        job = bench.job()

        bench.plan(job)

        assert bench.uids(job) == [1, 2]
        assert bench.findings(job) == [Finding.HIDDEN]


def test_a_short_line_that_stands_for_billions_of_mails_is_refused() -> None:
    with pytest.raises(ReplyTooLarge):
        list(read_answers("ESEARCH", [b"UID ALL 1:4294967295,1:4294967295"]))


def test_read_answers_takes_numbers_and_nothing_else() -> None:
    assert list(read_answers("SEARCH", [None, b"", b"1 22 (MODSEQ 99)"])) == [1, 22]
    assert list(read_answers("ESEARCH", [b'(TAG "A7") UID COUNT 4'])) == []


def test_words_in_small_letters_and_statuses_without_text_are_read(plans: Callable[..., Plans]) -> None:
    def script(command: str) -> list[bytes] | None:
        match command.split()[0]:
            case "EXAMINE":
                facts = b"* 2 exists", b"* ok [UIDVALIDITY 7] valid", b"* ok [UIDNEXT 5] next"
                return [*facts, b"{tag} ok"]
            case "FETCH":
                return [b"* 2 fetch (uid 4)", b"{tag} OK"]
            case "UID":
                return [b"* search 3 4", b"{tag} ok"]
        return None

    with ScriptedImap({3: MAIL, 4: MAIL}, script) as server:
        bench = plans(server)
        job = bench.job()

        bench.plan(job)

        assert bench.uids(job) == [3, 4]


# Folders that do not open


def test_a_folder_that_cannot_be_opened_now_hides_no_newer_mail_of_the_others(plans: Callable[..., Plans]) -> None:
    with ScriptedImap({1: MAIL}) as server:
        bench = plans(server)
        job = bench.job(folders=("Odd", "INBOX"))
        bench.plan(job)
        done = bench.ledger.jobs.get(job.id)
        server.mails[2] = MAIL
        server.script = lambda command: (
            [b"{tag} NO [SERVERBUG] internal error"] if command.startswith("EXAMINE") and "Odd" in command else None
        )

        assert done is not None
        assert Planner(bench.ledger, bench.source, bench.stop).has_newer_mail(done)


def test_a_folder_that_does_not_open_is_left_out_and_the_others_are_planned(plans: Callable[..., Plans]) -> None:
    def script(command: str) -> list[bytes] | None:
        return [b"{tag} NO [NOPERM] not yours"] if command.startswith('EXAMINE "Shared"') else None

    with ScriptedImap({1: MAIL, 2: MAIL}, script) as server:
        bench = plans(server)
        job = bench.job(folders=("INBOX", "Shared", "Archive"))

        planned = bench.plan(job)

        assert planned.new_mails == 4
        assert not planned.is_complete
        assert [(left.folder, "not yours" in left.reason) for left in planned.left_out] == [("Shared", True)]
        assert Finding.UNPLANNED in bench.findings(job)


@pytest.mark.parametrize(
    "answer",
    [
        [b"{tag} NO Mailbox isn't selectable"],
        [b"{tag} NO [SERVERBUG] internal error"],
        [b"* 2 EXISTS", b"{tag} OK done"],
        [b"* 2 EXISTS", b"* OK [UIDVALIDITY 0] ok", b"{tag} OK done"],
        [b"* 2 EXISTS", b"* OK [UIDVALIDITY 9223372036854775808] ok", b"{tag} OK done"],
        [b"* 2 EXISTS", b"* OK [UIDVALIDITY no] ok", b"{tag} OK done"],
    ],
)
def test_no_odd_answer_for_one_folder_keeps_the_others_from_being_planned(
    plans: Callable[..., Plans], answer: list[bytes]
) -> None:
    with ScriptedImap({1: MAIL}, lambda command: answer if command.startswith('EXAMINE "Odd"') else None) as server:
        bench = plans(server)
        job = bench.job(folders=("Odd", "INBOX"))

        planned = bench.plan(job)

        assert planned.new_mails == 1
        assert [left.folder for left in planned.left_out] == ["Odd"]


def test_a_folder_that_opens_again_is_planned_by_the_next_run(plans: Callable[..., Plans]) -> None:
    is_closed = True

    def script(command: str) -> list[bytes] | None:
        return [b"{tag} NO [NOPERM] not yours"] if is_closed and command.startswith('EXAMINE "Shared"') else None

    with ScriptedImap({1: MAIL, 2: MAIL}, script) as server:
        bench = plans(server)
        job = bench.job(folders=("INBOX", "Shared"))
        bench.plan(job)
        is_closed = False

        planned = bench.plan(job)

        assert (planned.new_mails, planned.is_complete, planned.left_out) == (2, True, ())


# Courier-IMAP itself


@pytest.fixture(scope="module")
def courier() -> Iterator[CourierServer]:
    if not CourierServer.is_available():
        if os.environ.get("CI"):
            pytest.fail("Courier-IMAP is not unpacked; `make neighbours` does it")
        pytest.skip("Courier-IMAP is not unpacked; `make neighbours` does it")
    with CourierServer() as server:
        server.holds(MAIL.replace(b"Subject: s", b"Subject: %d" % number) for number in range(308))
        yield server


def test_all_308_mails_of_a_courier_mailbox_are_found_and_read(
    plans: Callable[..., Plans], courier: CourierServer, tmp_path: Path
) -> None:
    bench = plans(courier)
    job = bench.job()

    planned = bench.plan(job)
    state = bench.source.examine("INBOX")
    messages = list(bench.source.fetch(state.key, bench.uids(job)))

    assert (planned.new_mails, planned.is_complete) == (308, True)
    assert {message.content.subject for message in messages} == {str(number) for number in range(308)}  # type: ignore[union-attr]
    assert bench.findings(job) == []
