"""Which activities does every engine have, and what are they asked? Their names begin as no user's may."""

from msgspec import Struct

RESERVED = "turnlog::"
"""What no name in a registry begins with."""

GET_KEY_VALUE = "turnlog::activity::get_key_value"
"""Reads what an instance keeps under a key, as committed when it runs. Input `KeyOf`; returns the value, or null."""


class KeyOf(Struct, frozen=True):
    """A key of an instance."""

    instance: str
    key: str
