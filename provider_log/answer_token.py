"""Who may answer an activity from outside? Whoever repeats the token that its work item was published with.

A token names the activity and proves that an owner published it: a hash, keyed with the partition's application id.
That is drawn at random once, lies in the history alone, and is the same for every owner there will ever be, so that a
token needs no row of its own and holds over every change of owner. Who may read the history can make tokens; who reads
nothing but the worker topic has those of the items in it; anybody else has none.
"""

import hashlib
import hmac

from msgspec import Struct

from engine.model.messages import CompleteActivity, FailActivity
from engine.model.work import WorkItem

TOKEN_HEADER = "turnlog-token"
"""Header of a work item that others serve, and of its answer: the same bytes."""

TAG_HEADER = "turnlog-tag"
"""Header of a work item that others serve: its tag, so that nobody need decode what is not for him."""

Answer = CompleteActivity | FailActivity

_PROOF_BYTES = 16
_FORM = "expected the token of a work item, numbers and a proof with dots between them, but"


class ActivityNumbers(Struct, frozen=True):
    """What a token says in plain text: with the instance, which activity it is of."""

    incarnation: int
    execution_id: int
    activity_id: int


def numbers_of(token: str) -> ActivityNumbers:
    """Which activity of its instance a token is of; proves nothing.

    Raises:
        ValueError: It is no token.
    """
    parts = token.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) <= 19 for part in parts[:3]):
        raise ValueError(f"{_FORM} it is {token[:80]!r}")
    return ActivityNumbers(*map(int, parts[:3]))


class Issuer(Struct, frozen=True):
    """Issues tokens for one partition and knows them again.

    Attributes:
        tags: Of work items that are published for others to serve.
        key: The application id in the genesis record.
    """

    tags: frozenset[str]
    key: bytes

    def headers_of(self, item: WorkItem) -> tuple[tuple[str, bytes], ...]:
        """What the published record of a work item says beside it; nothing if owners lease it."""
        if item.tag is None or item.tag not in self.tags:
            return ()
        numbers = ActivityNumbers(item.incarnation, item.execution_id, item.activity_id)
        return (TAG_HEADER, item.tag.encode()), (TOKEN_HEADER, self._token(item.instance, numbers))

    def has_issued(self, token: bytes, answer: Answer) -> bool:
        """Whether `token` was published with the activity that `answer` is for."""
        numbers = ActivityNumbers(answer.incarnation, answer.execution_id, answer.activity_id)
        return hmac.compare_digest(token, self._token(answer.instance, numbers))

    def _token(self, instance: str, numbers: ActivityNumbers) -> bytes:
        named = f"{numbers.incarnation}.{numbers.execution_id}.{numbers.activity_id}."
        proof = hashlib.blake2b(f"{named}{instance}".encode(), key=self.key, digest_size=_PROOF_BYTES)
        return f"{named}{proof.hexdigest()}".encode()
