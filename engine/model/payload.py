"""How does a value of the user travel? As bytes that say how they were made."""

from msgspec import Struct

JSON = "application/json"


class Payload(Struct, frozen=True):
    """A value of the user as bytes, self-describing so that it can be read for as long as the log is kept.

    Attributes:
        data: The bytes after all codecs.
        content_type: What the bytes are once the codecs are undone.
        codecs: Names of the codecs applied to the plaintext, first applied first; empty for plaintext.
        key_id: The key a codec encrypted with, so that one instance's payloads can be erased by deleting a key.
    """

    data: bytes
    content_type: str = JSON
    codecs: tuple[str, ...] = ()
    key_id: str | None = None


NULL = Payload(b"null")
"""The payload of `None`: what an orchestration without an input gets."""
