"""Where log lines go: set up once, by the command line only.

No secret that was told to `protect` reaches a line or a trace, no mail can forge a line or steer a terminal, and
variables are never shown. Library code binds and logs; it never configures.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from loguru import logger

from backfill import files
from backfill.errors import ConfigError
from backfill.wording import printable

if TYPE_CHECKING:
    from loguru import Record

ROTATION = "10 MB"
KEPT_FILES = 5
MASK = "***"

_LINE = "{time:YYYY-MM-DDTHH:mm:ss.SSSZ} {level: <8} {name}{extra[_bound]} | {message}{extra[_trace]}\n"
_secrets: set[str] = set()


def protect(*secrets: str | None) -> None:
    """Show `***` for these values from now on, also where they stand quoted in a URL or in JSON."""
    for secret in filter(None, secrets):
        _secrets.update({secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]})


def configure(log_file: Path, *, verbose: bool, quiet: bool, console_write: Callable[[str], None]) -> None:
    """Send log lines to `log_file` and warnings to the console; forget what was set up before.

    The console gets warnings (all below ERROR when `verbose`, nothing when `quiet`), without traces: errors are
    told there by the command line itself. Raises `ConfigError` when the file cannot be written.
    """
    logger.remove()
    logger.enable("backfill")
    logger.configure(patcher=_clean)
    try:
        files.make_folder(log_file.parent)
        logger.add(
            log_file,
            level="DEBUG" if verbose else "INFO",
            format=lambda _: _LINE,
            rotation=ROTATION,
            retention=KEPT_FILES,
            encoding="utf-8",
            opener=files.private,
            enqueue=False,  # a line is on its way to the disk when the call returns, also before a crash
            backtrace=False,
            diagnose=False,  # it would print variables, and credentials are among them
        )
    except OSError as error:
        raise ConfigError(
            f"The log file {log_file} cannot be written: {error.strerror or error}; see paths.log_file."
        ) from error
    if not quiet:
        logger.add(
            lambda line: console_write(line.rstrip("\n")),
            level="DEBUG" if verbose else "WARNING",
            filter=lambda record: record["level"].no < logging.ERROR,
            format=lambda _: "{level}: {message}\n",
            colorize=False,
            backtrace=False,
            diagnose=False,
        )
    _forward_standard_logging()


class _Forward(logging.Handler):
    """What libraries log by the standard library, from WARNING up: below, they log protocol lines and mail."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in {"WARNING", "ERROR", "CRITICAL"} else record.levelno

        def name(entry: Record) -> None:
            entry["name"] = record.name

        logger.patch(name).opt(exception=record.exc_info).log(level, "{}", record.getMessage())


def _forward_standard_logging() -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Forward)]:
        root.removeHandler(handler)
    root.addHandler(_Forward(level=logging.WARNING))
    for name in ("imapclient", "urllib3", "twisted"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _clean(record: Record) -> None:
    """Make a record harmless before any sink, and loguru's own complaint about a sink, can see it."""
    bound = "".join(f" {name}={value}" for name, value in record["extra"].items() if not name.startswith("_"))
    trace = ""
    if (exception := record["exception"]) is not None:
        told = "".join(traceback.format_exception(exception.type, exception.value, exception.traceback))
        # Indented, so that no line of it can pass for a line of the log.
        trace = "".join(f"\n    {printable(line)}" for line in _redacted(told).splitlines())
        record["exception"] = None
    record["message"] = printable(_redacted(record["message"]))
    record["extra"] = {"_bound": printable(_redacted(bound)), "_trace": trace}


def _redacted(text: str) -> str:
    for secret in sorted(_secrets, key=len, reverse=True):  # the longest first: one may begin with another
        text = text.replace(secret, MASK)
    return text
