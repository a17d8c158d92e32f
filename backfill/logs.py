"""Where log lines go. Only the command line sets this up; all other code only logs.

No secret that `redaction` knows is written, in a line or in a trace. Text of a mail can neither forge a line nor steer
a terminal. Variables are never shown.
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
from backfill.redaction import redacted, redacted_own
from backfill.wording import printable

if TYPE_CHECKING:
    from loguru import Record

MAX_BYTES: Final = 10_000_000
KEPT_FILES: Final = 5
#: Errors that do not come from a wrong path: a full disk, too many open files, a pipe without a reader.
_NO_MISTAKE: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENXIO}
)
_LINE = "{time:YYYY-MM-DDTHH:mm:ss.SSSZ} {level: <8} {name}{extra[_bound]} | {message}{extra[_trace]}\n"


#: The log file of this process; empty before `configure`.
_log_files: list[LogFile] = []


def configure(log_file: Path, *, verbose: bool, quiet: bool, console_write: Callable[[str], None]) -> None:
    """Send log lines to `log_file` and warnings to the console, and nowhere else from now on.

    The console gets warnings (every line below ERROR when `verbose`, none when `quiet`), without traces. Errors are
    left out: the command line prints them itself. Raises `ConfigError` for a wrong path, `EffectUnavailable` when the
    disk is full or no more files can be opened.
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
            enqueue=False,  # the line is written when the call returns, so that a crash cannot lose it
            backtrace=False,
            diagnose=False,  # True would print variables, and credentials are among them
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
    """Log an unexpected error with its trace; before `configure`, write it to standard error and return False."""
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
        """Write a line to the file that has the log's name now. Raises nothing."""
        try:
            self._follow()
        except OSError:
            self.handleError(record)
            return
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Tell the first time that lines are lost, and why."""
        error = sys.exc_info()[1]
        if not self._has_told:
            self._has_told = True
            cause = getattr(error, "strerror", None) or type(error).__name__
            self._tell(f"WARNING: The log file {self.baseFilename} cannot be written ({cause}); lines are lost.")

    def _open(self) -> io.TextIOWrapper:
        """Open the file for appending, unbuffered: a line that a full disk refuses is not written with the next one.

        O_NONBLOCK: opening a named pipe without a reader fails, as does writing to a full one. Else the run would wait.
        """
        raw = open(  # noqa: SIM115 - it is closed by the handler
            self.baseFilename, "ab", buffering=0, opener=lambda path, flags: files.private(path, flags | os.O_NONBLOCK)
        )
        return io.TextIOWrapper(raw, encoding=self.encoding, errors=self.errors, write_through=True)

    def _follow(self) -> None:
        """Open the file anew when a program such as logrotate has moved it."""
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
    """Forwards what libraries log through the standard library, from WARNING up. Below, they log mail."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in {"WARNING", "ERROR", "CRITICAL"} else record.levelno

        def name(entry: Record) -> None:
            entry["name"] = record.name

        logger.patch(name).opt(exception=record.exc_info).log(level, "{}", redacted(record.getMessage()))


def _forward_standard_logging() -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Forward)]:
        root.removeHandler(handler)
    root.addHandler(_Forward(level=logging.WARNING))
    for name in ("imapclient", "urllib3", "twisted"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns of every text that is not ASCII, and quotes it as bytes. Our errors quote the server in words.
    logging.getLogger("imapclient.util").setLevel(logging.ERROR)


def _clean(record: Record) -> None:
    """Make a record harmless before it reaches any sink, and loguru's own message about a sink that fails."""
    bound = "".join(f" {name}={value}" for name, value in record["extra"].items() if not name.startswith("_"))
    trace = ""
    if (exception := record["exception"]) is not None:
        told = "".join(traceback.format_exception(exception.type, exception.value, exception.traceback))
        # Indented, so that no line of the trace looks like a line of the log.
        trace = "".join(f"\n    {printable(line)}" for line in redacted(told).splitlines())
        record["exception"] = None
    record["message"] = printable(redacted_own(record["message"]))
    record["extra"] = {"_bound": printable(redacted_own(bound)), "_trace": trace}
