"""Which host names and addresses mean this machine itself.

No name is looked up: others control the answers of DNS, and a password would be sent to the address in an answer.
"""

from __future__ import annotations

import ipaddress
from typing import Final

#: The accepted forms of loopback, for messages.
LOOPBACK_FORMS: Final = "localhost, 127.0.0.1 or ::1"


def is_loopback(host: str) -> bool:
    """Does a connection to `host` stay on this machine?

    True for localhost in any case, with or without the final dot, for 127.0.0.0/8, for ::1 and for the IPv6 form of
    an IPv4 loopback address; an IPv6 address may stand in brackets. Shortened addresses such as 127.1 are False:
    programs differ in how they read them.
    """
    if host.lower().removesuffix(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(bare(host))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def bare(host: str) -> str:
    """`host` as a socket takes it: an IPv6 address without the brackets of a URL."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host
