"""What the log tells, and what it keeps to itself."""

from __future__ import annotations

import logging
import re
import stat

import pytest
from loguru import logger

from backfill import logs
from backfill.errors import ConfigError
from backfill.redaction import protect

STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d (DEBUG|INFO|WARNING|ERROR) ")


@pytest.fixture(autouse=True)
def _as_before():
    """Loggers are the process's, not the test's."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    logger.remove()
    root.handlers[:] = handlers


@pytest.fixture
def log_file(tmp_path):
    return tmp_path / "var" / "agent.log"


@pytest.fixture
def console() -> list[str]:
    return []


@pytest.fixture
def log(log_file, console):
    """Set up as the command line does; call it to read what was written."""
    logs.configure(log_file, verbose=False, quiet=False, console_write=console.append)
    return lambda: log_file.read_text("utf-8")


def test_a_line_says_when_where_and_about_which_mail(log):
    logger.bind(job=1, uid=17).info("classified {}", "well")

    assert STAMP.match(log())
    assert log().endswith(f" {__name__} job=1 uid=17 | classified well\n")


def test_a_secret_reaches_neither_message_nor_trace_nor_bound_value(log):
    protect('s3cret/päss"word', None, "")

    try:
        raise ValueError('login with s3cret/päss"word refused')
    except ValueError:
        logger.bind(password='s3cret/päss"word').exception('password is s3cret/päss"word')
    logger.warning("https://user:s3cret%2Fp%C3%A4ss%22word@host")
    logger.warning('{{"password": "s3cret/p\\u00e4ss\\"word"}}')

    assert "s3cret" not in log()
    assert "password is ***" in log()
    assert "ValueError: login with *** refused" in log()


def test_a_secret_over_several_lines_does_not_reach_a_trace(log):
    protect("first-half\nsecond-half")

    try:
        raise ValueError("key first-half\nsecond-half")
    except ValueError:
        logger.exception("no key")

    assert "half" not in log().replace("protect", "")


def test_variables_are_not_shown_in_traces(log):
    def fails(token: str) -> None:
        raise RuntimeError("broken")

    try:
        fails("-".join(["not", "told", "to", "protect"]))
    except RuntimeError:
        logger.exception("oh")

    assert "RuntimeError: broken" in log()
    assert "not-told-to-protect" not in log()


def test_mail_cannot_forge_a_line(log):
    forged = "\n2026-11-23T00:00:00.000+00:00 INFO     x | all is well\x1b[2J"

    logger.info("subject {}", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        logger.exception("odd mail")

    lines = log().splitlines()
    assert sum(bool(STAMP.match(line)) for line in lines) == 2
    assert all(line.isprintable() for line in lines)


def test_braces_and_markup_in_mail_are_only_text(log):
    logger.info("{}", "{extra[x]} <red>{0}</red> {message")

    assert "| {extra[x]} <red>{0}</red> {message\n" in log()


def test_the_log_is_its_owners_alone(log, log_file):
    logger.info("begun")

    assert stat.S_IMODE(log_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(log_file.parent.stat().st_mode) == 0o700


def test_the_log_turns_over_at_ten_megabytes_and_keeps_the_latest(log, log_file):
    for _ in range(7):
        for _ in range(11):
            logger.info("x" * 1_000_000)

    files = list(log_file.parent.iterdir())
    assert len(files) == logs.KEPT_FILES + 1
    assert all(file.stat().st_size <= 10_000_000 + 1 for file in files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_the_console_gets_warnings_and_leaves_errors_to_the_command_line(log, console):
    for level in ("DEBUG", "INFO", "WARNING", "ERROR"):
        logger.log(level, "this is {}", level)

    assert console == ["WARNING: this is WARNING"]
    assert [line.split()[1] for line in log().splitlines()] == ["INFO", "WARNING", "ERROR"]


def test_verbose_tells_more_and_quiet_nothing(log_file, console):
    logs.configure(log_file, verbose=True, quiet=False, console_write=console.append)
    logger.debug("detail")
    logs.configure(log_file, verbose=True, quiet=True, console_write=console.append)
    logger.warning("unheard")

    assert console == ["DEBUG: detail"]
    assert "detail" in log_file.read_text()
    assert "unheard" in log_file.read_text()


def test_libraries_warnings_are_logged_once_and_their_protocol_lines_never(log_file, console):
    for _ in range(2):
        logs.configure(log_file, verbose=True, quiet=True, console_write=console.append)

    library = logging.getLogger("imapclient.imaplib")
    library.debug("> LOGIN owner password")
    library.info("> LOGIN owner password")
    library.warning("the server said BYE %s", "now")
    logging.getLogger("some.other").setLevel(logging.DEBUG)
    logging.getLogger("some.other").debug("chatter")

    assert "LOGIN" not in log_file.read_text()
    assert "chatter" not in log_file.read_text()
    assert log_file.read_text().count("imapclient.imaplib | the server said BYE now") == 1


def test_a_log_that_cannot_be_written_is_told_by_its_setting(tmp_path, console):
    (tmp_path / "var").write_text("a file stands here")

    with pytest.raises(ConfigError, match=r"paths\.log_file"):
        logs.configure(tmp_path / "var" / "agent.log", verbose=False, quiet=False, console_write=console.append)
