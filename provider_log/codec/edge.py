"""What did somebody else put on the input topic? Avro like ours, or JSON that a person can type.

JSON is read only when the header `content-type` says so, only here, and never written. A message is an object with
`type`, and the fields of that kind; a payload is any JSON value as it stands, left out it is null:

    {"type": "StartOrchestration", "instance": "order-7", "name": "order", "input": {"sku": "lamp"}}

What a client cannot know has no JSON form: a parent, timers, what children say. The headers `message_id` and
`traceparent` fill the fields of these names, for producers that cannot put them into the value. So does the token of a
work item in an answer to it: it names the activity, the value says how that ended.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import msgspec

from engine.model.failure import Category, Failure
from engine.model.ids import ParentLink
from engine.model.messages import (
    AnyMessage,
    CancelInstance,
    CompleteActivity,
    EnqueueMessage,
    External,
    FailActivity,
    Message,
    RaiseEvent,
    StartOrchestration,
)
from engine.model.payload import Payload
from engine.model.policies import ReusePolicy
from engine.start_options import reuse_policy
from provider_log.answer_token import TOKEN_HEADER, numbers_of
from provider_log.codec.framing import Family, Malformed
from provider_log.codec.registered import MARK as REGISTRY_MARK
from provider_log.codec.registered import Registered, decode_registered

CONTENT_TYPE = "content-type"
JSON = "application/json"
AVRO = "avro/binary"
ANSWERS = (CompleteActivity, FailActivity)
JSON_KINDS: tuple[type[Message], ...] = (StartOrchestration, RaiseEvent, EnqueueMessage, CancelInstance, *ANSWERS)
NULL = msgspec.Raw(b"null")

INCARNATION: Any = Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]


class JsonFailure(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why an activity failed, as its worker says it."""

    type: str
    message: str
    retryable: bool = True
    details: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


# How the type of a message's field is typed in JSON; one that is not here has no JSON form.
JSON_TYPES: dict[Any, Any] = {
    str: str,
    bool: bool,
    str | None: str | None,
    int | None: INCARNATION | None,
    Payload: msgspec.Raw,
    Payload | None: msgspec.Raw | msgspec.UnsetType,
    Failure: JsonFailure,
    ReusePolicy | None: Literal["ignore", "refuse", "restart_ended"] | None,
}
NOT_IN_JSON = {ParentLink | None, int}
"""The numbers of an answer are in its token: beyond 2**53 not every language's JSON keeps them."""


def _typed(kind: type[Message]) -> type[msgspec.Struct]:
    """The JSON form of `kind`."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(kind):
        if field.type in NOT_IN_JSON:
            continue
        if field.type is Payload:
            fields.append((field.name, msgspec.Raw, NULL))
        elif field.required:
            fields.append((field.name, JSON_TYPES[field.type]))
        else:
            default = msgspec.UNSET if field.type == Payload | None else field.default
            fields.append((field.name, JSON_TYPES[field.type], default))
    return msgspec.defstruct(
        kind.__name__, fields, kw_only=True, tag_field="type", tag=kind.__name__, forbid_unknown_fields=True
    )


class Edge:
    """Reads the values of the input topic."""

    def __init__(self, messages: Family[AnyMessage]) -> None:
        self._messages = messages
        self._kinds = {_typed(kind): kind for kind in JSON_KINDS}
        union: Any = None
        for typed in self._kinds:
            union = typed if union is None else union | typed
        self._json = msgspec.json.Decoder(union)

    def decode(
        self,
        value: bytes,
        headers: Sequence[tuple[str, bytes]],
        registered: Mapping[int, Registered] | None = None,
    ) -> AnyMessage:
        """The message that a record of the input topic holds.

        Args:
            value: The record's.
            headers: The record's.
            registered: Schemas of a registry by id, as far as they were looked up; None if there is no registry.

        Raises:
            Malformed: It can never be used; the text is a sentence for whoever sent it.
            UnknownSchema: A newer version can read it, or whoever asks the registry: `NotLookedUp`.
        """
        read = _known(headers)
        content_type = read.pop(CONTENT_TYPE, AVRO).partition(";")[0].strip().lower()
        token = read.pop(TOKEN_HEADER, None)
        match content_type:
            case "application/json":
                message = self._from_json(value, token)
            case "avro/binary" if value[:1] == REGISTRY_MARK:
                message = decode_registered(value, registered)
            case "avro/binary":
                message = self._messages.decode(value)
            case _:
                raise Malformed(f"expected the header content-type to be {JSON} or {AVRO}, but it is {content_type!r}")
        return _with_headers(message, read) if isinstance(message, External) and read else message

    def _from_json(self, value: bytes, token: str | None) -> AnyMessage:
        try:
            value.decode()
            typed = self._json.decode(value)
        except UnicodeDecodeError as why:
            raise Malformed(f"expected JSON in UTF-8, but {why}") from why
        except RecursionError as why:
            raise Malformed("expected JSON of a person's depth, but it is nested too deep to read") from why
        except (msgspec.DecodeError, ValueError) as why:
            kinds = ", ".join(kind.__name__ for kind in JSON_KINDS)
            raise Malformed(f"expected a JSON message of type {kinds}, but: {why}") from why
        kind = self._kinds[type(typed)]
        typed_fields = msgspec.structs.asdict(typed).items()
        fields = {name: _plain(item) for name, item in typed_fields if item is not msgspec.UNSET}
        if kind is StartOrchestration:
            fields["if_exists"] = reuse_policy(fields["if_exists"])
        if kind in ANSWERS:
            fields |= _numbers(token)
        return cast("AnyMessage", cast("Any", kind)(**fields))


def _plain(item: Any) -> Any:
    match item:
        case msgspec.Raw():
            return Payload(bytes(item))
        case JsonFailure(type=kind, message=message, retryable=retryable, details=details):
            attached = None if details is msgspec.UNSET else _plain(details)
            return Failure(Category.APPLICATION, kind, message, retryable, details=attached)
        case _:
            return item


def _numbers(token: str | None) -> dict[str, int]:
    """The fields of an answer that its token fills. Raises Malformed without one."""
    if token is None:
        raise Malformed(f"expected the header {TOKEN_HEADER} as its work item brought it, but there is none")
    try:
        return msgspec.structs.asdict(numbers_of(token))
    except ValueError as why:
        raise Malformed(f"header {TOKEN_HEADER}: {why}") from why


def _known(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """The headers this code knows, as text. Raises Malformed for one that is repeated or no UTF-8."""
    known: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower not in (CONTENT_TYPE, TOKEN_HEADER, "message_id", "traceparent"):
            continue
        if lower in known:
            raise Malformed(f"expected the header {lower} once, but it is there twice")
        try:
            known[lower] = value.decode()
        except UnicodeDecodeError as why:
            raise Malformed(f"expected the header {lower} in UTF-8, but {why}") from why
    return known


def _with_headers(message: External, headers: dict[str, str]) -> Any:
    """`message` with what its headers add. Raises Malformed if header and field say different things."""
    for name, value in headers.items():
        if getattr(message, name) not in (None, value):
            raise Malformed(f"expected the header {name} to repeat the field, but the two differ")
    return msgspec.structs.replace(message, **headers)
