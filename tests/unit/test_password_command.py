"""The operator's program that prints the password: bounded in time and size, and told no other secret."""

from __future__ import annotations

import sys
import time

import pytest

from backfill.errors import ConfigError, ServerUnavailable
from backfill.mail import password_command
from backfill.mail.password_command import printed_by


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code)


def test_the_first_line_is_the_secret():
    assert printed_by(("printf", "s3cret word\\r\\nsecond\\n")) == "s3cret word"


def test_it_does_not_see_variables_that_hold_other_secrets(monkeypatch):
    monkeypatch.setenv("API_KEY", "sk-0123456789")
    monkeypatch.setenv("HELPER", "seen")

    printed = printed_by(python("import os; print(os.environ.get('API_KEY'), os.environ['HELPER'])"), ("API_KEY",))

    assert printed == "None seen"


@pytest.mark.parametrize("script", ["yes", "yes | cat", "cat /dev/zero", "cat /dev/zero & sleep 100"])
def test_endless_output_ends_at_once(script):
    began = time.monotonic()

    with pytest.raises(ConfigError, match="prints more than"):
        printed_by(("sh", "-c", script))

    assert time.monotonic() - began < 20


def test_a_child_of_its_own_that_goes_on_does_not_hold_it_up():
    began = time.monotonic()

    assert printed_by(("sh", "-c", "sleep 30 & echo token")) == "token"

    assert time.monotonic() - began < 20


class HastyClock:
    """Each look is ten seconds after the last."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        self.at += 10
        return self.at


@pytest.mark.parametrize("script", ["sleep 100", "echo token; sleep 100", "exec >&-; sleep 100"])
def test_one_that_does_not_end_is_given_up(script):
    with pytest.raises(ServerUnavailable, match="did not end within 60 s"):
        printed_by(("sh", "-c", script), clock=HastyClock())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argv", "error", "told"),
    [
        (("/nonexistent",), ConfigError, "cannot be started"),
        (("a\0b",), ConfigError, "cannot be started"),
        (("true",), ConfigError, "printed no secret"),
        (("echo",), ConfigError, "printed no secret"),
        (("false",), ServerUnavailable, "ended with status 1"),
        (("sh", "-c", "kill -9 $$"), ServerUnavailable, "ended with status -9"),
    ],
)
def test_what_goes_wrong_is_told_with_its_remedy(argv, error, told):
    with pytest.raises(error, match=told):
        printed_by(argv)


def test_its_limit_is_a_minute():
    assert password_command.LIMIT_S == 60
