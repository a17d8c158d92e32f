"""Where log lines go: set up once, by the command line only.

No secret that `redaction` knows reaches a line or a trace, no mail can forge a line or steer a terminal, and
variables are never shown. Library code binds and logs; it never configures.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import stat
import sys
import traceback
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loguru import logger

from backfill import files
from backfill.errors import ConfigError, EffectUnavailable
from backfill.redaction import redacted
from backfill.wording import printable

if TYPE_CHECKING:
    from loguru import Record

MAX_BYTES: Final = 10_000_000
KEPT_FILES: Final = 5
#: Why a file cannot be opened although its path is right.
_NO_MISTAKE: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENXIO}
)
_LINE = "{time:YYYY-MM-DDTHH:mm:ss.SSSZ} {level: <8} {name}{extra[_bound]} | {message}{extra[_trace]}\n"


#: The log file of this process; empty before `configure`.
_log_files: list[LogFile] = []


def configure(log_file: Path, *, verbose: bool, quiet: bool, console_write: Callable[[str], None]) -> None:
    """Send log lines to `log_file` and warnings to the console; forget what was set up before.

    The console gets warnings (all below ERROR when `verbose`, nothing when `quiet`), without traces: errors are
    told there by the command line itself. Raises `ConfigError` for a path that will not do, `EffectUnavailable` when
    the disk is full or the machine gives no more files.
    """
    logger.remove()
    logger.enable("backfill")
    logger.configure(patcher=_clean)
    _log_files.clear()
    try:
        file = LogFile(log_file, tell=lambda line: None if quiet else console_write(line))
        logger.add(
            file,
            level="DEBUG" if verbose else "INFO",
            format=lambda _: _LINE,
            enqueue=False,  # a line is on its way to the disk when the call returns, also before a crash
            backtrace=False,
            diagnose=False,  # it would print variables, and credentials are among them
        )
    except OSError as error:
        cause = "it is a named pipe that nobody reads" if error.errno == errno.ENXIO else error.strerror or error
        kind = EffectUnavailable if error.errno in _NO_MISTAKE else ConfigError
        raise kind(f"The log file {log_file} cannot be written: {cause}; see paths.log_file.") from error
    _log_files.append(file)
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


def record_bug(error: BaseException) -> bool:
    """Log what nobody expected, with its trace; where there is no log yet, on standard error, and then False."""
    if not _log_files:
        logger.remove()  # loguru's own sink prints variables
        logger.configure(patcher=_clean)
        logger.add(sys.stderr, format=lambda _: "{message}{extra[_trace]}\n", backtrace=False, diagnose=False)
    logger.opt(exception=error).critical("a bug in backfill")
    return bool(_log_files)


class LogFile(RotatingFileHandler):
    """A sink for log lines. `tell` gets one sentence when a line is lost. Raises `OSError` when it cannot be opened."""

    def __init__(self, path: Path, *, tell: Callable[[str], object]) -> None:
        files.make_folder(path.parent)
        self._tell = tell
        self._has_told = False
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8", errors="backslashreplace")
        self.terminator = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line to the file that has this name now. Raises nothing."""
        try:
            self._follow()
        except OSError:
            self.handleError(record)
            return
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Tell once that lines are lost, and why."""
        error = sys.exc_info()[1]
        if not self._has_told:
            self._has_told = True
            cause = getattr(error, "strerror", None) or type(error).__name__
            self._tell(f"WARNING: The log file {self.baseFilename} cannot be written ({cause}); lines are lost.")

    def _open(self) -> io.TextIOWrapper:
        """For appending, without a buffer: what a full disk has refused is not tried again with the next line.

        O_NONBLOCK: a named pipe that nobody reads refuses to be opened, and a full one refuses the line; else they
        would hold up the run.
        """
        raw = open(  # noqa: SIM115 - it is closed by the handler
            self.baseFilename, "ab", buffering=0, opener=lambda path, flags: files.private(path, flags | os.O_NONBLOCK)
        )
        return io.TextIOWrapper(raw, encoding=self.encoding, errors=self.errors, write_through=True)

    def _follow(self) -> None:
        """Go over to the file that has this name now, when a program such as logrotate has moved ours."""
        if self.stream is None:
            return
        ours = os.fstat(self.stream.fileno())
        try:
            named: os.stat_result | None = os.stat(self.baseFilename)
        except FileNotFoundError:
            named = None
        if stat.S_ISREG(ours.st_mode) and (named is None or not os.path.samestat(ours, named)):
            self.stream.close()
            self.stream = self._open()


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
        trace = "".join(f"\n    {printable(line)}" for line in redacted(told).splitlines())
        record["exception"] = None
    record["message"] = printable(redacted(record["message"]))
    record["extra"] = {"_bound": printable(redacted(bound)), "_trace": trace}
