"""Run the operator's program that prints a password or token, and take its first line.

Environment variables that hold other secrets are withheld from it. Its standard error may hold secrets and is not kept.
"""

from __future__ import annotations

import os
import selectors
import subprocess
from collections.abc import Collection
from contextlib import suppress
from typing import IO, Final

from backfill.clock import Clock, SystemClock
from backfill.errors import ConfigError, ServerUnavailable

LIMIT_S: Final = 60.0
#: Printed in all. A token with many claims has about 10,000.
MAX_BYTES: Final = 65_536
#: Interval of checks whether the program has ended while its child process holds the output open.
GLANCE_S: Final = 0.1


def printed_by(argv: tuple[str, ...], withheld: Collection[str] = (), *, clock: Clock | None = None) -> str:
    """The first line that the program prints. `withheld`: names of variables that it does not get.

    Raises `ConfigError` when the program cannot be started, prints nothing or too much. Raises `ServerUnavailable` when
    it fails or does not end in time, as a token program without network does.
    """
    environment = {name: value for name, value in os.environ.items() if name not in withheld}
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in a word
        raise ConfigError(f"imap.password_command cannot be started: {error}.") from error
    assert process.stdout is not None
    clock = clock or SystemClock()
    deadline = clock.monotonic() + LIMIT_S
    try:
        printed = _read(process, process.stdout, deadline, clock, argv[0])
        status = process.wait(max(0.0, deadline - clock.monotonic()))
    except subprocess.TimeoutExpired:
        raise _too_slow(argv[0]) from None
    finally:
        process.stdout.close()  # a child process that still writes gets SIGPIPE
        with suppress(OSError):
            process.kill()
        process.wait()
    if status:
        raise ServerUnavailable(
            f"imap.password_command ({argv[0]}) ended with status {status}; run it by hand to see why."
        )
    lines = printed.decode("utf-8", "replace").splitlines()
    if not lines or not lines[0].strip():
        raise ConfigError(f"imap.password_command ({argv[0]}) printed no secret on its first line.")
    return lines[0].strip("\r\n")


def _read(process: subprocess.Popen[bytes], output: IO[bytes], deadline: float, clock: Clock, name: str) -> bytes:
    """All that is printed until the output ends, or until the program ends while its children hold the output open."""
    printed = bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(output, selectors.EVENT_READ)
        while True:
            has_ended = process.poll() is not None
            if ready.select(0 if has_ended else GLANCE_S):
                chunk = os.read(output.fileno(), MAX_BYTES)
                printed += chunk
                if len(printed) > MAX_BYTES:
                    raise ConfigError(
                        f"imap.password_command ({name}) prints more than {MAX_BYTES:,} bytes; it should print the "
                        "secret on one line."
                    )
                if not chunk:
                    return bytes(printed)
            elif has_ended:
                return bytes(printed)
            if clock.monotonic() > deadline:
                raise _too_slow(name)


def _too_slow(name: str) -> ServerUnavailable:
    return ServerUnavailable(f"imap.password_command ({name}) did not end within {LIMIT_S:g} s; run it by hand.")
