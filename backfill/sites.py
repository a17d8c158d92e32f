"""Whether two host names belong to one owner, by the Public Suffix List (https://publicsuffix.org).

The list says below which names anyone can get a name of his own: `co.uk`, `github.io`. It comes with the library and
is as old as the installed library; nothing is fetched. A name that the list does not know counts as a suffix of one
label, as the list's own rule `*` says.
"""

from __future__ import annotations

import ipaddress
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


def are_one_site(first: str, second: str) -> bool:
    """Do both host names lie below one name that somebody registered? Names of e-mail domains count as hosts."""
    return site_of(first) == site_of(second)


def site_of(host: str) -> str:
    """The part of a host name that one owner has: `www.bank.co.uk` → `bank.co.uk`.

    An address, a public suffix and what is no host name are their own site, whole. Names are lower case, in their
    ASCII form (`xn--…`) and without the final dot.
    """
    name = _ascii(host.strip().lower().rstrip("."))
    if _is_address(name):
        return name
    return _suffixes().privatesuffix(name) or name


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


@cache
def _suffixes() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList  # start-up: reading the 10,000 suffixes takes 60 ms

    return PublicSuffixList()
