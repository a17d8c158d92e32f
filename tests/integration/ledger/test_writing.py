"""The one way to write: shared commits, no lost work when the database is busy, full or out of bounds."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import PurePosixPath

import pytest
from sqlalchemy import event, text

from backfill.errors import ConfigError, LedgerUnusable
from backfill.ledger import Ledger
from backfill.ledger.databases.database import READERS, Database
from backfill.ledger.databases.filesystem import network_kind, refuse_network
from tests.support.barrier import at_once
from tests.support.clocks import TurnedClock
from tests.support.ledgers import Bench, inbox

INSERT = text("INSERT INTO fact (name, value) VALUES (:name, 'x')")


def put(ledger: Ledger, name: str) -> None:
    ledger.database.write(lambda connection: connection.execute(INSERT, {"name": name}).rowcount)


def names(ledger: Ledger) -> list[str]:
    return ledger.database.read(
        lambda connection: list(connection.execute(text("SELECT name FROM fact ORDER BY name")).scalars())
    )


# Reading.


def test_more_threads_than_there_are_connections_queue_to_read(ledger):
    """As hundreds of calls do at the same moment; a server that hangs keeps them waiting, however long."""
    inside, most, let_go, entered = [], [], threading.Event(), threading.Semaphore(0)

    def read(connection):
        inside.append(1)
        most.append(len(inside))
        entered.release()
        let_go.wait(30)
        inside.pop()
        return connection.execute(text("SELECT 1")).scalar()

    with ThreadPoolExecutor(60) as pool:
        reading = [pool.submit(ledger.database.read, read) for _ in range(60)]
        for _ in range(READERS):
            entered.acquire()
        let_go.set()
        results = [each.result(60) for each in reading]

    assert results == [1] * 60
    assert max(most) == READERS


# Shared commits.


def test_whoever_waits_is_served_in_one_commit(ledger):
    commits = []
    ledger.throttles.set_rate("x", 60)  # the connection is there
    event.listen(ledger.database._writer, "commit", lambda connection: commits.append(connection))
    started, go_on = threading.Event(), threading.Event()

    def hold(connection):
        started.set()
        go_on.wait(30)

    with ThreadPoolExecutor(21) as pool:
        holding = pool.submit(ledger.database.write, hold)
        started.wait(30)
        waiting = [pool.submit(put, ledger, f"{number:02}") for number in range(20)]
        while len(ledger.database._waiting) < 20:
            holding.exception  # noqa: B018 - a moment
        go_on.set()
        for each in (holding, *waiting):
            each.result()

    assert len(commits) == 2
    assert names(ledger) == [f"{number:02}" for number in range(20)]


def test_a_piece_that_fails_does_not_take_the_others_along(ledger):
    put(ledger, "taken")

    results = at_once(*[lambda name=name: put(ledger, name) for name in ("a", "taken", "b", "c", "taken", "d")])

    assert [type(result).__name__ for result in results] == [
        "NoneType", "IntegrityError", "NoneType", "NoneType", "IntegrityError", "NoneType",
    ]  # fmt: skip
    assert names(ledger) == ["a", "b", "c", "d", "taken"]


def test_what_a_piece_raises_is_raised_where_it_was_brought_with_nothing_of_it_written(ledger):
    def work(connection):
        connection.execute(INSERT, {"name": "half"})
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ledger.database.write(work)

    assert names(ledger) == []


def test_a_thread_that_is_interrupted_leaves_the_others_work_to_be_done(ledger):
    def interrupt(connection):
        raise KeyboardInterrupt

    results = []
    started, go_on = threading.Event(), threading.Event()

    def hold(connection):
        started.set()
        go_on.wait(30)

    with ThreadPoolExecutor(3) as pool:
        holding = pool.submit(ledger.database.write, hold)
        started.wait(30)
        interrupted = pool.submit(ledger.database.write, interrupt)
        while len(ledger.database._waiting) < 1:
            holding.done()
        other = pool.submit(put, ledger, "other")
        while len(ledger.database._waiting) < 2:
            holding.done()
        go_on.set()
        results = [holding.exception(30), type(interrupted.exception(30)), other.exception(30)]

    assert results == [None, KeyboardInterrupt, None]
    assert names(ledger) == ["other"]


@pytest.fixture
def interrupt():
    """Interrupts the main thread once, as Ctrl-C does, also in a worker of pytest-xdist, which ignores Ctrl-C.

    A signal that comes just before the thread falls asleep does not wake it, so it is sent until it is heard.
    """
    heard = threading.Event()

    def hear(*_: object) -> None:
        if not heard.is_set():
            heard.set()
            raise KeyboardInterrupt

    def send() -> None:
        while not heard.wait(0.05):  # at first until the thread has fallen asleep
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, hear)
    yield send
    signal.signal(signal.SIGUSR1, before)


def test_who_is_interrupted_while_waiting_for_the_turn_does_not_keep_it_from_the_others(ledger, interrupt):
    started, go_on = threading.Event(), threading.Event()

    def hold(connection):
        started.set()
        go_on.wait(30)

    def interrupt_the_waiting():
        while not ledger.database._waiting:
            started.is_set()
        interrupt()

    with ThreadPoolExecutor(2) as pool:
        holding = pool.submit(ledger.database.write, hold)
        started.wait(30)
        interrupting = pool.submit(interrupt_the_waiting)
        with pytest.raises(KeyboardInterrupt):
            put(ledger, "interrupted")
        go_on.set()
        holding.result(30)
        interrupting.result(30)

    put(ledger, "later")

    assert names(ledger) == ["later"]


# SQLite.


@pytest.fixture
def sqlite_bench(sqlite_url, clock):
    bench = Bench(Ledger.open(sqlite_url, clock), clock)
    yield bench
    bench.close()


def test_every_transaction_that_writes_begins_immediate(sqlite_bench):
    """A read that turns into a write fails at once when somebody else is writing, whatever the timeout says."""
    bench = sqlite_bench
    statements: list[str] = []
    writer = bench.ledger.database._writing.connection.dbapi_connection
    writer.set_trace_callback(statements.append)

    bench.plan(11, 12, 13)
    run = bench.run()
    first, second, _ = bench.claim(run)
    bench.ledger.items.begin(run, [first])
    attempt = bench.open_attempt(run, first)
    bench.finish(run, first, bench.record(run, first, attempt_id=attempt).verdict, "flags")
    bench.ledger.items.fail(run, second, "refused")
    bench.ledger.items.retry(run)
    bench.ledger.throttles.set_rate("x", 60)
    bench.ledger.throttles.reserve("x", bench.clock.now_us())
    bench.ledger.outcomes.open_sink("h", "p")
    bench.ledger.runs.beat(run, 1)
    bench.end(run)

    begins = [statement for statement in statements if statement.startswith("BEGIN")]
    writes = [statement for statement in statements if statement.split()[0] in ("INSERT", "UPDATE", "DELETE")]
    assert len(begins) > 10
    assert len(writes) > 10
    assert set(begins) == {"BEGIN IMMEDIATE"}


def test_only_the_writer_of_a_database_can_write(sqlite_bench):
    with pytest.raises(LedgerUnusable, match="not writable"):
        sqlite_bench.ledger.database.read(lambda connection: connection.execute(INSERT, {"name": "x"}))


def test_a_busy_database_is_the_ledgers_trouble_and_never_a_mails(sqlite_bench, tmp_path):
    bench = sqlite_bench
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    before = bench.item(11)
    bench.ledger.database.close()
    event.listen(
        bench.ledger.database._writer, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 50")
    )

    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        results = at_once(*[lambda: bench.ledger.items.fail(run, item, "refused")] * 3)
        unchanged = bench.item(11)
        other.execute("ROLLBACK")
    bench.ledger.items.fail(run, item, "refused")

    assert all(
        isinstance(result, LedgerUnusable) and "Another program has not let go of it" in str(result)
        for result in results
    )
    assert unchanged == before
    assert bench.status(11) == "failed"


def test_the_ledger_and_its_folder_are_nobody_elses(tmp_path):
    before = os.umask(0)
    try:
        ledger = Ledger.open(f"sqlite:///{tmp_path}/new/ledger.db")
        lock = ledger.runs.lock()
        ledger.runs.take(lock)
        put(ledger, "something")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
        lock.drop()
        ledger.close()
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert {"ledger.db", "ledger.db-wal", "ledger.db.lock"} <= set(modes)
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(("content", "words"), [(b"From jo@example.com\n" * 300, "no SQLite database"), (b"", None)])
def test_a_file_that_is_no_ledger_is_called_that(tmp_path, content, words):
    path = tmp_path / "ledger.db"
    path.write_bytes(content)

    if words is None:
        Ledger.open(f"sqlite:///{path}").close()
    else:
        with pytest.raises(LedgerUnusable, match=words):
            Ledger.open(f"sqlite:///{path}")


def test_a_damaged_ledger_is_called_that(sqlite_bench, tmp_path):
    sqlite_bench.plan(*range(1, 2000))
    sqlite_bench.ledger.close()
    path = tmp_path / "ledger.db"
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * (path.stat().st_size - 4096 * 3))

    with pytest.raises(LedgerUnusable, match="damaged; restore"):
        sqlite_bench.claim(sqlite_bench.run())


# A full disk.


def plan_until_full(bench: Bench) -> int:
    """Windows of 1,000 mails until the disk is full; how many were planned."""
    number = bench.ledger.plans.open_mailbox(inbox())
    planned = 0
    with pytest.raises(LedgerUnusable, match=r"The disk is full|The disk reports errors"):
        while planned < 1_000_000:
            bench.plan(*range(planned + 1, planned + 1001))
            planned += 1000
    assert number
    return planned


def assert_nothing_was_lost(bench: Bench, planned: int) -> None:
    counts = bench.rows("SELECT COUNT(*), MAX(uid) FROM item")[0]
    assert tuple(counts) == (planned, planned)
    assert bench.value("SELECT planned FROM plan_range") == planned
    assert bench.ledger.audit.differences(bench.job.id) == []
    bench.plan(*range(planned + 1, planned + 1001))
    assert bench.value("SELECT COUNT(*) FROM item") == planned + 1000


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_reported_and_nothing_is_lost(tmp_path, clock):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=True)
    try:
        bench = Bench(Ledger.open(f"sqlite:///{disk}/ledger.db", clock), clock)

        planned = plan_until_full(bench)
        subprocess.run(["mount", "-o", "remount,size=30m", disk], check=True)

        assert planned >= 1000
        assert_nothing_was_lost(bench, planned)
        bench.close()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_file_that_may_not_grow_is_reported_and_nothing_is_lost(sqlite_bench):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        planned = plan_until_full(sqlite_bench)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert_nothing_was_lost(sqlite_bench, planned)


# Where a ledger may lie.

MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 27 0:28 / /home rw,relatime - nfs4 server:/home rw,vers=4.2
32 31 254:1 / /home/jo/local rw - ext4 /dev/vdb rw
33 27 0:30 / /mnt/my\040share rw - cifs //server/share rw
34 27 0:31 / /mnt/laptop rw - fuse.sshfs jo@laptop: rw
35 27 0:32 / /mnt/crypt rw - fuse.gocryptfs /crypt rw
36 27 0:33 / /mnt/c rw - 9p drvfs rw
37 27 0:34 / /over rw - nfs server:/over rw
38 27 254:2 / /over rw - ext4 /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/ledger.db", None),
        ("/home/jo/ledger.db", "nfs4"),
        ("/homeland/ledger.db", None),
        ("/home/jo/local/ledger.db", None),
        ("/mnt/my share/ledger.db", "cifs"),
        ("/mnt/laptop/a/b/ledger.db", "fuse.sshfs"),
        ("/mnt/crypt/ledger.db", None),
        ("/mnt/c/ledger.db", "9p"),
        ("/over/ledger.db", None),
    ],
)
def test_a_network_file_system_is_known_by_its_mount(tmp_path, path, kind):
    assert network_kind(PurePosixPath(path), MOUNTS) == kind


def test_a_ledger_on_a_network_file_system_is_refused_with_what_to_do(tmp_path):
    mounts = f"27 1 254:0 / / rw - ext4 /dev/vda rw\n31 27 0:28 / {tmp_path} rw - nfs4 server:/home rw\n"

    with pytest.raises(ConfigError, match=r"network file system \(nfs4\).*paths\.ledger_url.*PostgreSQL"):
        refuse_network(tmp_path / "ledger.db", mounts)


def test_a_ledger_whose_links_lead_in_a_circle_is_unusable_and_no_bug(tmp_path):
    ledger = tmp_path / "ledger.db"
    ledger.symlink_to(ledger)

    with pytest.raises(LedgerUnusable, match="in a circle"):
        refuse_network(ledger, "")


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense", ""])
def test_a_url_of_something_else_is_refused(url):
    with pytest.raises(ConfigError, match=r"paths\.ledger_url"):
        Database(url)


def test_a_postgresql_url_is_shown_without_its_password():
    assert "secret" not in str(Database("postgresql://jo:secret@db.example.com/mail"))


def test_a_server_that_is_not_there_is_reported_at_once(tmp_path):
    clock = TurnedClock()

    with pytest.raises(LedgerUnusable):
        Ledger.open(f"postgresql://jo@/mail?host={tmp_path}", clock)

    assert clock.seconds == TurnedClock().seconds
