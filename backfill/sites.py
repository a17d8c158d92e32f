"""Whether two host names belong to one owner, by the Public Suffix List (https://publicsuffix.org).

The list holds the names under which anyone can register a name: `co.uk`, `github.io`. It comes with the installed
library; nothing is fetched. Where the list has no rule for a name, its last label is the suffix, as the list's own
rule `*` says.
"""

from __future__ import annotations

import ipaddress
import threading
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


def are_one_site(first: str, second: str) -> bool:
    """Do both host names lie below the same registered name? The domain of an e-mail address counts as a host name."""
    return site_of(first) == site_of(second)


@lru_cache(maxsize=1024)  # a mail's links lead to few hosts, and its sender's domain is compared with each
def site_of(host: str) -> str:
    """The registered part of a host name: `www.bank.co.uk` → `bank.co.uk`.

    An IP address, a public suffix, and a text that is no host name are returned whole. The result is in lower case, in
    ASCII (`xn--…`) and without a final dot.
    """
    name = _ascii(host.strip().lower().rstrip("."))
    if _is_address(name):
        return name
    return suffixes().privatesuffix(name) or name


def suffixes() -> PublicSuffixList:
    """The suffix list, read by the first call. The others wait for it: `cache` would let each thread read it anew."""
    with _READING:
        return _suffixes()


def _ascii(name: str) -> str:
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:  # an empty label, or one of more than 63 characters
        return name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


_READING = threading.Lock()


@cache
def _suffixes() -> PublicSuffixList:
    from publicsuffixlist import PSLFILE, PublicSuffixList  # start-up: reading the 10,000 suffixes takes 40 ms

    with Path(PSLFILE).open(encoding="utf-8") as lines:
        rules = [rule for line in lines if (rule := line.strip()) and not rule.startswith("//")]
    # Twice as fast as the library, which makes the ASCII form also of the suffixes that are ASCII.
    return PublicSuffixList(
        [rule if rule.isascii() else rule.encode("idna") for rule in rules], accept_encoded_idn=False
    )
