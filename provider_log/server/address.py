"""Where does a node listen, and who reaches it there?"""

import ipaddress
from typing import NamedTuple

from engine.errors import UsageError

HOP_HEADER = "turnlog-hop"
"""Header of a request that one node makes of another on behalf of its caller."""


class Address(NamedTuple):
    """Where to listen. `host` is a name or an address without brackets; port 0 is any free one."""

    host: str
    port: int

    @property
    def text(self) -> str:
        """As `parse_address` takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.text}"


def parse_address(text: str) -> Address:
    """`host:port` or `[v6]:port` as an address.

    Raises:
        UsageError: It is neither.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    plain = host[1:-1] if bracketed else host
    if not (colon and plain and (":" not in plain or bracketed) and port.isascii() and port.isdecimal()):
        raise UsageError(f"expected an address like 127.0.0.1:8620 or [::1]:8620 to listen on, but it is {text!r}")
    if int(port) > 65_535:
        raise UsageError(f"expected a port of at most 65535, but it is {port}")
    return Address(plain, int(port))


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address without brackets, is this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
