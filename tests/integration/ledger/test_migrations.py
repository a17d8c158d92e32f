"""The schema comes about and changes in one piece: once, whole, with everything in it kept, or not at all."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from backfill import resources
from backfill.errors import ConfigError, LedgerHeld, LedgerUnusable, SchemaOutdated
from backfill.ledger import Ledger
from backfill.ledger.databases import migrate
from backfill.ledger.databases.backup import backup
from backfill.ledger.databases.database import Database
from backfill.ledger.databases.migrate import Schema, prepare
from backfill.ledger.schema import metadata
from backfill.rubric import Rubric
from backfill.selection import Selection
from tests.support.barrier import at_once
from tests.support.clocks import TurnedClock
from tests.support.ledgers import Bench

NEXT = '''"""A column more, which rebuilds the table on SQLite."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    recreate = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("mailbox", recreate=recreate) as table:
        table.add_column(sa.Column("note", sa.Text()))
    for _ in range(3):
        op.execute("UPDATE item SET reason = reason")
    {more}
'''


#: The revision of the version to come.
COMING = f"{int(migrate.HEAD) + 1:04d}"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/fresh/ledger.db"
    return request.getfixturevalue("postgres").empty_database()


@pytest.fixture
def newer(tmp_path):
    """The schema of a version to come."""
    return newer_schema(tmp_path / "newer")


def newer_schema(folder: Path, more: str = "") -> Schema:
    shutil.copytree(resources.folder("migrations"), folder)
    script = NEXT.format(revision=COMING, before=migrate.HEAD, more=more)
    (folder / "versions" / f"{COMING}_next.py").write_text(script)
    return Schema(head=COMING, scripts=folder)


@contextmanager
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    try:
        yield opened
    finally:
        opened.close()


def upgrade(url: str, clock: TurnedClock, schema: Schema) -> None:
    with database(url) as opened:
        prepare(opened, clock, schema)


def columns(url: str, table: str) -> set[str]:
    with database(url) as opened:
        return opened.read(lambda connection: {column["name"] for column in sa.inspect(connection).get_columns(table)})


# Coming about.


def test_a_migrated_ledger_equals_the_metadata(ledger):
    with ledger.database.alone() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})

        differences = compare_metadata(context, metadata)

    assert differences == []


def test_the_constraints_of_a_migrated_ledger_are_those_of_the_metadata(ledger):
    def named(inspector, table):
        return {check["name"] for check in inspector.get_check_constraints(table)} | {
            index["name"] for index in inspector.get_indexes(table) if not index.get("duplicates_constraint")
        }

    found = ledger.database.read(
        lambda connection: {table: named(sa.inspect(connection), table) for table in metadata.tables}
    )

    for name, table in metadata.tables.items():
        checks = {str(each.name) for each in table.constraints if isinstance(each, sa.CheckConstraint)}
        assert found[name] == {f"ck_{name}_{check}".replace(f"ck_{name}_ck_", "ck_") for check in checks} | {
            str(index.name) for index in table.indexes
        }


def test_the_newest_script_is_the_one_this_version_expects():
    config = Config()
    config.set_main_option("script_location", str(resources.folder("migrations")))
    config.set_main_option("path_separator", "os")

    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


def test_an_up_to_date_ledger_is_opened_without_loading_alembic(ledger_url):
    code = (
        f"import sys; from backfill.ledger import Ledger as L; L.open({ledger_url!r}); print('alembic' in sys.modules)"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "False"


def test_two_processes_that_create_a_ledger_at_once_create_one(empty_url):
    opened = at_once(*[lambda: Ledger.open(empty_url)] * 4)

    assert all(isinstance(ledger, Ledger) for ledger in opened)
    versions = {
        tuple(ledger.database.read(lambda c: c.exec_driver_sql("SELECT version_num FROM alembic_version").all()))
        for ledger in opened
    }
    assert versions == {((migrate.HEAD,),)}
    for ledger in opened:
        ledger.close()


KILLED = """
import os, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from pathlib import Path
from backfill.ledger.databases.database import Database
from backfill.ledger.databases.migrate import Schema, prepare
left = int(sys.argv[2])
@event.listens_for(Engine, "after_cursor_execute")
def count(connection, cursor, statement, parameters, context, executemany):
    global left
    left -= not statement.startswith(("SELECT", "PRAGMA"))
    if left == 0:
        os._exit(137)
schema = Schema(head=sys.argv[3], scripts=Path(sys.argv[4])) if len(sys.argv) > 3 else None
prepare(Database(sys.argv[1]), schema=schema)
"""


def killed_at(step: int, url: str, *schema: str) -> int:
    return subprocess.run([sys.executable, "-c", KILLED, url, str(step), *schema], check=False).returncode


@pytest.mark.parametrize("step", [2, 6, 14, 20])
def test_a_process_that_is_killed_while_it_creates_a_ledger_leaves_none(empty_url, step):
    code = killed_at(step, empty_url)

    with database(empty_url) as opened:
        found = migrate.revision(opened, migrate.Schema())
    Ledger.open(empty_url).close()

    assert (code, found) == (137, None)


# Changing.


@pytest.fixture
def old(ledger_url, clock):
    """A ledger of this version with work in it, closed."""
    bench = Bench(Ledger.open(ledger_url, clock), clock)
    bench.plan(11, 12)
    run = bench.run()
    (item,) = bench.claim(run, 1)
    bench.finish(run, item, bench.record(run, item).verdict, "flags")
    bench.end(run)
    bench.close()
    return ledger_url


def test_an_upgrade_keeps_everything_that_is_there(old, newer, clock):
    upgrade(old, clock, newer)

    with database(old) as opened:
        counts = opened.read(
            lambda connection: [
                connection.exec_driver_sql(f"SELECT COUNT(*) FROM {table}").scalar()
                for table in ("mailbox", "item", "plan_range", "verdict", "receipt", "outcome")
            ]
        )
    assert counts == [1, 2, 1, 1, 1, 1]
    assert "note" in columns(old, "mailbox")


def test_a_ledger_of_a_newer_version_is_refused(old, newer, clock):
    upgrade(old, clock, newer)

    with pytest.raises(SchemaOutdated, match=rf"newer version of backfill \(revision {COMING}\)"):
        Ledger.open(old, clock)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_an_upgrade_that_is_killed_halfway_leaves_the_ledger_as_it_was(old, newer, clock, step):
    code = killed_at(step, old, newer.head, str(newer.scripts))

    ledger = Ledger.open(old, clock)
    statuses = Bench(ledger, clock).statuses()
    ledger.close()
    upgrade(old, clock, newer)

    assert code == 137
    assert statuses == {11: "done", 12: "pending"}
    assert "note" in columns(old, "mailbox")


def test_an_upgrade_that_fails_leaves_the_ledger_as_it_was(old, tmp_path, clock):
    broken = newer_schema(tmp_path / "broken", 'op.execute("INSERT INTO nowhere VALUES (1)")')

    with pytest.raises(Exception, match="nowhere"):
        upgrade(old, clock, broken)

    assert "note" not in columns(old, "mailbox")


def test_two_processes_that_upgrade_at_once_upgrade_once(old, newer, clock):
    results = at_once(*[lambda: upgrade(old, clock, newer)] * 3)

    # Beside SQLite one holds the lock; who comes while it does is told so, and finds it done the next time.
    assert all(result is None or isinstance(result, LedgerHeld) for result in results)
    assert None in results
    upgrade(old, clock, newer)
    assert "note" in columns(old, "mailbox")


def test_beside_sqlite_nothing_is_upgraded_under_a_running_command(sqlite_url, newer, clock):
    bench = Bench(Ledger.open(sqlite_url, clock), clock)
    bench.run()

    with pytest.raises(LedgerHeld):
        upgrade(sqlite_url, clock, newer)

    assert "note" not in columns(sqlite_url, "mailbox")
    bench.close()


def test_an_upgrade_that_would_leave_rows_pointing_nowhere_is_undone(sqlite_url, tmp_path, clock):
    bench = Bench(Ledger.open(sqlite_url, clock), clock)
    bench.plan(11)
    bench.close()
    careless = newer_schema(tmp_path / "careless", 'op.execute("DELETE FROM mailbox")')

    with pytest.raises(LedgerUnusable, match="point nowhere"):
        upgrade(sqlite_url, clock, careless)

    assert "note" not in columns(sqlite_url, "mailbox")


#: One row of each table that 0.1 filled while it worked, as its own statements wrote them.
ROWS_OF_0_1 = """
INSERT INTO mailbox (id, account, folder, uidvalidity) VALUES (1, 'owner@example.org', 'INBOX', 7);
INSERT INTO job (id, key, account, selection, fingerprint, fingerprint_parts, prompt, dry_run, state, created_at)
     VALUES (1, 'key', 'owner@example.org', '{}', 'print', '{}', 'Judge.', FALSE, 'open', 1);
INSERT INTO plan_range (job_id, mailbox_id, high_uid, next_uid, planned) VALUES (1, 1, 12, 13, 2);
INSERT INTO run (id, uuid, job_id, command, host, pid, version, parameters, started_at, heartbeat_at, ended_at, outcome)
     VALUES (1, 'uuid', 1, 'run', 'host', 2, '0.1', '{"api": "calls:bench"}', 1, 1, 9, 'finished');
INSERT INTO item (id, job_id, mailbox_id, uid, status, rank) VALUES (1, 1, 1, 11, 'pending', 1);
INSERT INTO item (id, job_id, mailbox_id, uid, status, rank) VALUES (2, 1, 1, 12, 'pending', 2);
INSERT INTO attempt (item_id, run_id, started_at, ended_at, outcome, http_status, tokens_in, tokens_out, cost_nano,
                     estimate_nano, request_id, question)
     VALUES (1, 1, 5, 6, 'ok', 200, 345, 17, 123000, 1400000, 'req-1', 'a question');
INSERT INTO attempt (item_id, run_id, started_at, outcome) VALUES (2, 1, 7, 'open')
"""


def test_a_ledger_of_0_1_keeps_its_calls_and_then_takes_calls_that_belong_to_no_run(empty_url, clock):
    upgrade(empty_url, clock, Schema(head="0001"))
    with database(empty_url) as opened:
        opened.write(lambda connection: [connection.execute(sa.text(row)) for row in ROWS_OF_0_1.split(";")])
        before = opened.read(lambda connection: connection.exec_driver_sql("SELECT * FROM attempt ORDER BY id").all())

    ledger = Ledger.open(empty_url, clock)

    attempts = ledger.database.read(lambda c: c.exec_driver_sql("SELECT * FROM attempt ORDER BY id").all())
    assert [tuple(row)[: len(before[0])] for row in attempts] == [tuple(row) for row in before]
    assert [row.api for row in attempts] == [None, None]
    assert ledger.attempts.open_without_run("calls:bench", None) > 2
    ledger.close()


def test_an_upgrade_from_0_1_keeps_the_indexes_checks_and_references_of_calls(empty_url, clock):
    def described():
        with database(empty_url) as opened:
            return opened.read(lambda connection: _around(sa.inspect(connection), "attempt"))

    upgrade(empty_url, clock, Schema(head="0001"))
    indexes, checks, references = described()

    upgrade(empty_url, clock, Schema(head="0002"))

    assert len(indexes) == 5
    assert described() == (indexes, checks | {"ck_attempt_asker"}, references)


KEYWORDS_OF_0_1 = """
INSERT INTO verdict (id, message_key, fingerprint, generation, importance, spam, source, explanation, truncated,
                     created_at)
     VALUES (1, 'a mail', 'digest', 0, 9, 1, 'chat', '', FALSE, 5);
UPDATE item SET status = 'done', verdict_id = 1, final_at = 9, flags_before = '["IMPORTANT", "\\\\Seen"]' WHERE id = 1;
INSERT INTO job (id, key, account, selection, fingerprint, fingerprint_parts, prompt, dry_run, state, created_at)
     VALUES (2, 'another key', 'owner', '{}', 'digest', '{}', '', FALSE, 'open', 3);
INSERT INTO item (id, job_id, mailbox_id, uid, status, rank, verdict_id, final_at, flags_before)
     VALUES (3, 2, 1, 11, 'done', 1, 1, 9, '["Important", "AIProcessed"]');
INSERT INTO receipt (mailbox_id, uid, effect, verdict_id, state, detail, applied_at)
     VALUES (1, 11, 'flags', 1, 'applied', '{"keywords": ["Important", "AIProcessed"], "refused": []}', 7);
INSERT INTO receipt (mailbox_id, uid, effect, verdict_id, state, detail, applied_at)
     VALUES (1, 11, 'notes', 1, 'applied', '{"path": "a.md"}', 7)
"""


def test_a_ledger_of_0_1_knows_after_the_upgrade_which_keywords_it_has_added(empty_url, clock):
    upgrade(empty_url, clock, Schema(head="0001"))
    rows = f"{ROWS_OF_0_1};{KEYWORDS_OF_0_1}"
    with database(empty_url) as opened:
        opened.write(lambda connection: [connection.execute(sa.text(row)) for row in rows.split(";")])

    ledger = Ledger.open(empty_url, clock)

    written = {each.receipt.effect: each.receipt.detail for each in ledger.undoing.written(1)}
    assert written["flags"] == {"keywords": ["Important", "AIProcessed"], "added": ["AIProcessed"], "refused": []}
    assert written["notes"] == {"path": "a.md"}
    ledger.close()


SELECTED = Selection().canonical()
VERDICTS_OF_0_1 = """
INSERT INTO verdict (id, message_key, fingerprint, generation, importance, spam, source, model, explanation, truncated,
                     created_at)
     VALUES (1, 'a mail', 'digest', 0, 9, 1, 'chat', 'a-model', '', TRUE, 5);
INSERT INTO verdict (id, message_key, fingerprint, generation, importance, spam, source, explanation, truncated,
                     created_at)
     VALUES (7, 'b mail', 'digest', 0, 0, 10, 'gate', 'proved-deceit', FALSE, 6);
UPDATE item SET status = 'done', verdict_id = 7, message_key = 'b mail', final_at = 9 WHERE id = 1;
INSERT INTO receipt (mailbox_id, uid, effect, verdict_id, state, detail, applied_at)
     VALUES (1, 11, 'notes', 7, 'applied', '{"path": "a.md"}', 7);
INSERT INTO outcome (id, item_id, run_id, status, verdict_id, labels, supersedes, at)
     VALUES (3, 1, 1, 'done', 7, 'spam', FALSE, 9)
"""


def test_a_ledger_of_0_1_keeps_its_verdicts_and_then_takes_answers_to_any_rubric(empty_url, clock):
    upgrade(empty_url, clock, Schema(head="0001"))
    rows = f"{ROWS_OF_0_1};{VERDICTS_OF_0_1}"
    with database(empty_url) as opened:
        opened.write(lambda connection: [connection.execute(sa.text(row)) for row in rows.split(";")])

    ledger = Ledger.open(empty_url, clock)

    known = ledger.verdicts.known("digest", 0, ["a mail", "b mail"])
    assert [(each.id, dict(each.scores), each.category, each.reason) for each in known.values()] == [
        (1, {"importance": 9, "spam": 1}, None, ""),
        (7, {"importance": 0, "spam": 10}, None, ""),
    ]
    assert [(each.source, each.model, each.explanation, each.truncated) for each in known.values()] == [
        ("chat", "a-model", "", True),
        ("gate", None, "proved-deceit", False),
    ]
    (outcome,) = ledger.outcomes.after(0, 10)
    assert (outcome.id, outcome.scores, outcome.labels) == (3, known["b mail"].scores, ("spam",))
    ledger.database.write(lambda c: c.execute(sa.text("UPDATE job SET selection = :all"), {"all": SELECTED}))
    assert ledger.jobs.get(1).rubric == Rubric.default()
    assert ledger.report.summary(ledger.jobs.get(1)).scores[1].mails[10] == 1
    with pytest.raises(sa.exc.IntegrityError):
        ledger.database.write(lambda c: c.exec_driver_sql("DELETE FROM verdict WHERE id = 7"))
    names = [f"a-category-of-40-letters-{number:015}" for number in range(41)]
    ledger.database.write(lambda c: c.execute(sa.text("UPDATE outcome SET labels = :all"), {"all": ",".join(names)}))
    assert ledger.outcomes.after(0, 10)[0].labels == tuple(names)
    ledger.close()


def _around(inspector, table):
    """What stands around a table's columns; an index with its condition."""
    indexes = {
        each["name"]: (each["column_names"], bool(each["unique"]), sorted(map(str, each["dialect_options"].values())))
        for each in inspector.get_indexes(table)
    }
    checks = {each["name"] for each in inspector.get_check_constraints(table)}
    references = {(each["name"], each["referred_table"]) for each in inspector.get_foreign_keys(table)}
    return indexes, checks, references


# Copies.


def test_before_an_upgrade_a_sqlite_ledger_is_copied(sqlite_url, newer, clock, tmp_path):
    bench = Bench(Ledger.open(sqlite_url, clock), clock)
    bench.plan(11)
    bench.close()

    upgrade(sqlite_url, clock, newer)

    copy = tmp_path / f"ledger.db.backup-{migrate.HEAD}-{clock.now():%Y%m%dT%H%M%SZ}"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert "note" not in columns(f"sqlite:///{copy}", "mailbox")
    opened = Ledger.open(f"sqlite:///{copy}", clock)
    assert Bench(opened, clock).statuses() == {11: "pending"}
    opened.close()


def test_a_copy_is_whole_though_a_run_is_writing(sqlite_url, clock, tmp_path):
    bench = Bench(Ledger.open(sqlite_url, clock), clock)
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            bench.plan(*range(number * 100 + 1, number * 100 + 101))
            number += 1

    writing = threading.Thread(target=write)
    writing.start()
    for number in range(5):
        backup(bench.ledger.database, tmp_path / f"copy-{number}.db")
    stop.set()
    writing.join()
    bench.close()

    for number in range(5):
        with closing(sqlite3.connect(tmp_path / f"copy-{number}.db")) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (counted,) = copy.execute("SELECT COUNT(*) FROM item").fetchone()
            (planned,) = copy.execute("SELECT SUM(planned) FROM plan_range").fetchone()
            assert counted == (planned or 0)


def test_a_copy_overwrites_nothing(sqlite_url, clock, tmp_path):
    ledger = Ledger.open(sqlite_url, clock)
    (tmp_path / "there.db").write_text("mine")

    with pytest.raises(ConfigError, match="exists"):
        backup(ledger.database, tmp_path / "there.db")

    ledger.close()
    assert (tmp_path / "there.db").read_text() == "mine"


def test_a_copy_that_cannot_be_written_leaves_nothing_behind(sqlite_url, clock, tmp_path):
    ledger = Ledger.open(sqlite_url, clock)

    with pytest.raises(LedgerUnusable, match="unharmed"):
        backup(ledger.database, tmp_path / "no" / "such" / "folder.db")

    ledger.close()
    assert not list(tmp_path.glob("*unfinished*"))


def test_a_postgresql_ledger_is_copied_by_its_own_tools(postgres_url):
    with database(postgres_url) as opened, pytest.raises(ConfigError, match="pg_dump"):
        backup(opened, Path("copy"))
