"""A database that a ledger cannot live in is refused with what to do, and one that fails on the way loses nothing."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from backfill.clock import StopRequest
from backfill.errors import ConfigError, LedgerUnusable, SchemaOutdated
from backfill.ledger import Ledger
from backfill.ledger.schema import metadata
from tests.support.clocks import TurnedClock
from tests.support.ledgers import Bench
from tests.support.pooler import pooled


def administer(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def at(url: str, **parts: str) -> str:
    return make_url(url).set(**parts).render_as_string(hide_password=False)


def with_options(url: str, **options: str) -> str:
    return make_url(url).update_query_dict(options).render_as_string(hide_password=False)


# What the server does on the way.


class Releasing(TurnedClock):
    """Somebody lets go of what he holds during the first pause."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go: Callable[[], object] = lambda: None

    def sleep(self, seconds: float, stop: StopRequest) -> bool:
        self.let_go()
        return super().sleep(seconds, stop)


@pytest.mark.parametrize("limit", ["statement_timeout", "lock_timeout"])
def test_an_answer_is_kept_though_the_server_cancels_its_statement_for_a_while(postgres_url, limit):
    clock = Releasing()
    ledger = Ledger.open(with_options(postgres_url, options=f"-c{limit}=50"), clock)
    bench = Bench(ledger, clock)
    bench.plan(11)
    run = bench.run()
    [item] = bench.claim(run)
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT * FROM item FOR UPDATE")
        clock.let_go = other.rollback

        recorded = bench.record(run, item)

    assert recorded.is_ours
    assert bench.statuses() == {11: "classified"}
    bench.close()


@pytest.mark.parametrize(
    ("limit", "word"), [("statement_timeout", "statement_timeout"), ("lock_timeout", "lock_timeout")]
)
def test_a_server_that_cancels_every_statement_is_the_ledgers_trouble(postgres_url, clock, limit, word):
    ledger = Ledger.open(with_options(postgres_url, options=f"-c{limit}=20"), clock)
    bench = Bench(ledger, clock)
    bench.plan(11)
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(LedgerUnusable, match=limit):
            bench.ledger.database.write(lambda connection: connection.execute(text("UPDATE item SET due_at = 1")))

    bench.close()


def test_nothing_of_a_row_stands_in_an_error(bench):
    statement = text("INSERT INTO secret_row (name, value) VALUES (:name, :value)")
    bench.write("CREATE TABLE secret_row (name TEXT PRIMARY KEY, value TEXT CHECK (value NOT LIKE '%@%'))")

    with pytest.raises(DBAPIError) as raised:
        bench.ledger.database.write(
            lambda connection: connection.execute(statement, {"name": "n", "value": "jo@example.com"})
        )

    chain = [raised.value, raised.value.orig, raised.value.__cause__]
    assert not [error for error in chain if "jo@example.com" in f"{error} {error!r}"]


# What a ledger cannot live in.


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_utf8_is_refused_at_the_start(postgres, encoding):
    name = f"not_utf8_{encoding.lower()}_{os.getpid()}"
    administer(
        postgres.url,
        f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )

    with pytest.raises(ConfigError, match=f"encoding {encoding}.*UTF8"):
        Ledger.open(at(postgres.url, database=name))

    administer(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


def test_the_clients_encoding_is_utf8_whatever_the_environment_says(postgres_url, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")

    with closing(Ledger.open(postgres_url)) as ledger, ledger.database.session() as session:
        encoding = session.exec_driver_sql("SHOW client_encoding").scalar_one()

    assert encoding == "UTF8"


def test_a_pooler_that_shares_connections_by_transaction_is_refused_with_the_remedy(postgres_url):
    with pooled(postgres_url) as url, pytest.raises(ConfigError, match="pool by session"):
        Ledger.open(url)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("no_such_database", "does not exist"),
        ("no_right", "permission denied for database"),
        ("none_left", "too many connections"),
        ("closed", "not currently accepting connections"),
        ("no_such_role", "role .* does not exist"),
    ],
)
def test_a_refused_connection_is_told_in_the_servers_own_words(postgres, postgres_url, broken, words):
    name, user = make_url(postgres_url).database, f"visitor_{os.getpid()}"
    administer(postgres.url, f"DROP ROLE IF EXISTS {user}", f"CREATE ROLE {user} LOGIN")
    url = at(postgres_url, username=user)
    match broken:
        case "no_such_database":
            url = at(postgres_url, database="no_such_database")
        case "no_right":
            administer(postgres.url, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        case "none_left":
            administer(postgres.url, f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        case "closed":
            administer(postgres.url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        case "no_such_role":
            url = at(postgres_url, username="no_such_role")

    with pytest.raises(LedgerUnusable, match=f"(?s)refuses the connection: .*{words}"):
        Ledger.open(url)

    administer(postgres.url, f"DROP ROLE {user}")


@pytest.mark.parametrize(
    "options",
    [
        {"no_such_option": "1"},
        {"sslmode": "sideways"},
        {"connect_timeout": "soon"},
        {"options": "-cno_such_parameter=1"},
        {"options": "nonsense"},
        {"options": "-csearch_path=no_such_schema"},
    ],
    ids=str,
)
def test_bad_options_of_the_url_are_the_operators_and_no_bug(postgres_url, options):
    with pytest.raises((ConfigError, LedgerUnusable), match=r"paths\.ledger_url"):
        Ledger.open(with_options(postgres_url, **options))


@pytest.mark.parametrize("url", ["sqlite:////nowhere/x.db?mode=ro", "postgresql://host:port/x"])
def test_a_url_with_what_no_driver_takes_is_refused(url):
    with pytest.raises(ConfigError, match=r"paths\.ledger_url"):
        Ledger.open(url)


# What somebody has done to a ledger.


def changed(url: str, *statements: str) -> None:
    ledger = Ledger.open(url)
    for statement in statements:
        ledger.database.write(lambda connection, statement=statement: connection.execute(text(statement)))
    ledger.close()


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["UPDATE alembic_version SET version_num = 'a1b2c3d4e5f6'"], "a1b2c3d4e5f6.*no version of backfill"),
        (["UPDATE alembic_version SET version_num = '0000'"], "0000.*no version of backfill"),
        (["DELETE FROM alembic_version"], "does not say which version"),
        (["DROP TABLE alembic_version"], "does not say which version"),
        (["DROP TABLE sink"], "the table sink is missing"),
        (["DROP TABLE purse", "DROP TABLE fact"], "the table fact, the table purse are missing"),
        (["ALTER TABLE run DROP COLUMN waiting_for"], r"the column run\.waiting_for is missing"),
        (["DROP INDEX uq_attempt_question_open"], "the index uq_attempt_question_open is missing"),
    ],
)
def test_a_ledger_that_somebody_has_changed_is_unusable_and_named(ledger_url, statements, words):
    changed(ledger_url, *statements)

    with pytest.raises(LedgerUnusable, match=words):
        Ledger.open(ledger_url)


def test_a_ledger_of_a_newer_version_is_said_to_be_one(ledger_url):
    changed(ledger_url, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(SchemaOutdated, match="newer version"):
        Ledger.open(ledger_url)


@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_each_table_is_missed(sqlite_url, name):
    with closing(sqlite3.connect(make_url(sqlite_url).database)) as connection:
        connection.execute(f"DROP TABLE {name}")

    with pytest.raises(LedgerUnusable, match=f"the table {name} is missing"):
        Ledger.open(sqlite_url)


# SQLite's file.


def replaced(path: Path) -> None:
    other = path.with_name("other.db")
    Ledger.open(f"sqlite:///{other}").close()
    os.replace(other, path)


MISHAPS = {
    "removed": Path.unlink,
    "moved": lambda path: path.rename(path.with_name("moved.db")),
    "replaced": replaced,
    "with its folder": lambda path: path.parent.rename(path.parent.with_name("elsewhere")),
}


@pytest.fixture
def placed(tmp_path, migrated_file):
    """A ledger in a folder of its own, with a run at work on it."""
    folder = tmp_path / "var"
    folder.mkdir()
    (folder / "ledger.db").write_bytes(migrated_file.read_bytes())
    clock = TurnedClock()
    bench = Bench(Ledger.open(f"sqlite:///{folder}/ledger.db", clock), clock)
    yield bench
    bench.close()


@pytest.mark.parametrize("mishap", MISHAPS)
@pytest.mark.parametrize("verb", ["heartbeat", "look", "end"])
def test_a_ledger_that_is_no_longer_where_it_was_stops_the_run(placed, mishap, verb):
    placed.plan(11)
    run = placed.run()

    MISHAPS[mishap](placed.ledger.database.path)

    with pytest.raises(LedgerUnusable, match=r"was (removed|replaced)"):
        match verb:
            case "heartbeat":
                placed.ledger.runs.beat(run, 0)
            case "look":
                placed.ledger.steering.read(placed.job.id)
            case "end":
                placed.end(run)


def test_an_answer_that_comes_after_the_ledger_was_moved_is_in_the_moved_file(placed, tmp_path):
    placed.plan(11)
    run = placed.run()
    [item] = placed.claim(run)
    folder = placed.ledger.database.path.parent
    folder.rename(tmp_path / "elsewhere")

    recorded = placed.record(run, item)

    placed.ledger.close()
    moved = Bench(Ledger.open(f"sqlite:///{tmp_path}/elsewhere/ledger.db"), TurnedClock())
    assert recorded.is_ours
    assert moved.statuses() == {11: "classified"}
    moved.close()


def test_no_new_ledger_is_begun_where_the_latest_of_an_earlier_one_lies(placed):
    placed.plan(11)
    path = placed.ledger.database.path
    path.rename(path.with_name("moved.db"))

    with pytest.raises(LedgerUnusable, match="-wal"):
        Ledger.open(f"sqlite:///{path}")

    assert not path.exists()


def test_threads_that_read_do_not_make_a_new_file_where_the_ledger_was(placed):
    path = placed.ledger.database.path
    path.unlink()
    met: list[Exception] = []

    def read() -> None:
        try:
            placed.ledger.jobs.all()
        except LedgerUnusable as error:
            met.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(met) == 4
    assert not path.exists()
