"""Which hosts belong to one owner: by the Public Suffix List, offline, read when it is first asked."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.sites import are_one_site, site_of


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("bank.example.com", "example.com"),
        ("www.bank.co.uk", "bank.co.uk"),
        ("login.banco.com.br", "banco.com.br"),
        ("www.city.kawasaki.jp", "city.kawasaki.jp"),
        ("shop.foo.github.io", "foo.github.io"),
        ("a.b.c.unlisted", "c.unlisted"),
        ("WWW.Bank.Example.", "bank.example"),
        ("www.bücher.de", "xn--bcher-kva.de"),
        ("xn--bcher-kva.de", "xn--bcher-kva.de"),
        ("www.食狮.公司.cn", "xn--85x722f.xn--55qx5d.cn"),
        ("co.uk", "co.uk"),
        ("localhost", "localhost"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("", ""),
        ("..", ""),
        ("a..b", "a..b"),
    ],
)
def test_a_site_is_the_name_that_somebody_registered(host: str, site: str) -> None:
    assert site_of(host) == site


@pytest.mark.parametrize(
    ("first", "second", "are_one"),
    [
        ("bank.co.uk", "evil.co.uk", False),
        ("mail.bank.co.uk", "bank.co.uk", True),
        ("bank.com.br", "evil.com.br", False),
        ("bank.gov.uk", "hmrc.gov.uk", False),
        ("bank.github.io", "evil.github.io", False),
        ("bank.web.app", "evil.web.app", False),
        ("news.shop.example", "shop.example", True),
        ("bank.example", "bank.example.evil.test", False),
        ("192.0.2.7", "198.51.2.7", False),
    ],
)
def test_two_hosts_are_one_site_where_one_owner_has_both(first: str, second: str, are_one: bool) -> None:
    assert are_one_site(first, second) is are_one
    assert are_one_site(second, first) is are_one


@given(st.text(max_size=300))
def test_any_text_has_a_site_and_is_one_site_with_itself(host: str) -> None:
    assert are_one_site(host, host)


def test_the_list_is_not_read_before_a_site_is_asked_for() -> None:
    asked = "import sys, backfill.sites, backfill.wiring; print('publicsuffixlist' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_threads_that_ask_at_the_same_time_read_the_list_once() -> None:
    asked = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from backfill.sites import suffixes

start = Barrier(16)
with ThreadPoolExecutor(16) as pool:
    found = list(pool.map(lambda _: (start.wait(), suffixes())[1], range(16)))
print(len({id(each) for each in found}))
"""

    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "1"
