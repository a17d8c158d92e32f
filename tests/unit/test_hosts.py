"""Which addresses are this machine: a password in clear goes nowhere else."""

from __future__ import annotations

import pytest

from backfill.classifiers.endpoint import Endpoint
from backfill.clock import SystemClock
from backfill.errors import ConfigError
from backfill.hosts import is_loopback
from backfill.mail.login import ImapAccount

HERE = ["localhost", "LOCALHOST", "LocalHost.", "127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "[::1]"]
HERE += ["0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"]
ELSEWHERE = ["127.1", "127.0.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1", "0.0.0.0", "::", "localhost.example.com"]
ELSEWHERE += ["127.0.0.1.example.com", "10.0.0.1", "[127.0.0.1", "::2", "::ffff:10.0.0.1", "localhost..", "", " ::1"]


@pytest.mark.parametrize("host", HERE)
def test_this_machine_is_known_in_every_way_of_writing_it(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_what_programs_read_differently_is_not_this_machine(host):
    assert not is_loopback(host)


@pytest.mark.parametrize("host", HERE)
def test_mail_may_be_read_in_clear_from_this_machine(host):
    assert ImapAccount(server=host, username="jo", security="none").security == "none"


@pytest.mark.parametrize("host", [host for host in ELSEWHERE if host])
def test_mail_is_never_read_in_clear_from_elsewhere(host):
    with pytest.raises(ConfigError, match="in clear"):
        ImapAccount(server=host, username="jo", security="none")


@pytest.mark.parametrize("host", ["LOCALHOST", "127.0.0.2", "[::1]"])
def test_the_key_may_travel_in_clear_to_this_machine(host):
    endpoint = Endpoint(f"http://{host}:11434/v1", "sk-0123456789", timeout_s=1, clock=SystemClock())

    assert endpoint.url.endswith("/v1")


@pytest.mark.parametrize("host", ["127.1", "0x7f.0.0.1", "0.0.0.0"])
def test_the_key_never_travels_in_clear_to_an_odd_address(host):
    with pytest.raises(ConfigError, match="unencrypted"):
        Endpoint(f"http://{host}:11434/v1", "sk-0123456789", timeout_s=1, clock=SystemClock())
