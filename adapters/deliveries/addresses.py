"""Which addresses of a host may be connected to."""

from __future__ import annotations

import ipaddress
import socket

from openbell.adapters.deliveries.base import Failed, Refused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that stand for an IPv4 one, in their last four bytes (RFC 6052)."""


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet's: no loopback, no private or link-local range (a
    cloud's metadata service lies there), none that stands for such a one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _TRANSLATED:
            inner = ipaddress.IPv4Address(address.packed[-4:])
        if address.teredo is not None:
            return False
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def address_of(host: str, port: int, *, allow_private: bool) -> str:
    """An address of a host that may be connected to.

    Who connects has to use it, and not the name: asked a second time, the name may give another.

    Raises
    ------
    Failed
        If the name has no address now.
    Refused
        If it has none that is allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Failed(f"{host}: has no address ({error})") from error
    addresses = [str(of[4][0]) for of in found]
    for address in addresses:
        if allow_private or is_public(ipaddress.ip_address(address.partition("%")[0])):
            return address
    raise Refused(
        f"{host}: is {addresses[0]}, in a private range; write allow_private: true if that is meant"
    )
