"""Standard input, output and error: they always exist, writing never raises, and no secret is written.

A command goes on when its output has no reader any more, or the disk behind it is full: the work is worth more than
the words about it. At the end `main` asks whether a result was lost.
"""

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from backfill.redaction import redacted_own

UNENCODABLE = "backfill.escaped"


class Output:
    """A text stream that swallows what cannot be written and remembers the first error: `trouble`."""

    def __init__(self, stream: TextIO | None, trouble: OSError | None = None) -> None:
        """`stream` None: it was closed. Then the first write reports `trouble`, or nothing where that is None."""
        self._stream = stream
        self._missing = trouble
        self.trouble: OSError | None = None

    @property
    def is_reader_gone(self) -> bool:
        """Did the reader of a pipe end before the output did, as `head` does?"""
        return isinstance(self.trouble, BrokenPipeError)

    def write(self, text: str) -> int:
        """Write `text` without any secret. Raises nothing."""
        if self._stream is None:
            self.trouble = self.trouble or self._missing
        elif self.trouble is None:
            try:
                self._stream.write(redacted_own(text))
            except (OSError, ValueError) as error:  # ValueError: it has been closed
                self._lose(error)
        return len(text)

    def write_bytes(self, data: bytes) -> int:
        """Write bytes as they are, in no encoding. Raises nothing."""
        if self._stream is None:
            self.trouble = self.trouble or self._missing
        elif self.trouble is None:
            try:
                self._stream.flush()
                self._stream.buffer.write(data)
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(data)

    def flush(self) -> None:
        """Hand over what was written. Raises nothing."""
        if self._stream is not None and self.trouble is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def isatty(self) -> bool:
        with suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        if self._stream is None:
            raise AttributeError(name)
        return getattr(self._stream, name)

    def _lose(self, error: OSError | ValueError) -> None:
        self.trouble = error if isinstance(error, OSError) else OSError(9, "it is closed")
        assert self._stream is not None
        # At its exit the interpreter writes the rest of the buffer, and would complain that it cannot
        # (https://docs.python.org/3/library/signal.html#note-on-sigpipe). So the rest goes to /dev/null.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def standard_streams() -> Iterator[Output]:
    """Replace standard output and standard error by an `Output` each; yields that of standard output."""
    missing = _fill_descriptors()
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - it is the process's
    before = sys.stdout, sys.stderr
    # Both closed: a daemon, whose words are in its log. Only standard output closed: the result is lost.
    closed = OSError(9, "it is closed") if 1 in missing and 2 not in missing else None
    out, err = Output(_lenient(sys.stdout), closed), Output(_lenient(sys.stderr))
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def write_bytes(data: bytes) -> int:
    """Write bytes to standard output, as they are. Raises nothing while `standard_streams` holds."""
    if isinstance(sys.stdout, Output):
        return sys.stdout.write_bytes(data)
    return sys.stdout.buffer.write(data)


def is_unread() -> bool:
    """Is everything lost that is written to standard output from now on?"""
    return getattr(sys.stdout, "trouble", None) is not None


def _fill_descriptors() -> frozenset[int]:
    """Open the descriptors 0, 1 and 2 where they are closed; returns those.

    Otherwise the ledger's file could get the number 1, and our output would be written into it.
    """
    missing = set()
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            missing.add(number)
            opened = os.open(os.devnull, os.O_RDWR)  # POSIX gives the lowest free number, which is this one
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    return frozenset(missing)


def _lenient(stream: TextIO | None) -> TextIO | None:
    """The same stream. A character that its encoding does not have is written as in JSON: \\u2713."""
    codecs.register_error(UNENCODABLE, _escaped)
    if stream is not None and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=UNENCODABLE)
    return stream


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = (units[at : at + 2].hex() for at in range(0, len(units), 2))
    return "".join(f"\\u{pair}" for pair in pairs), error.end
