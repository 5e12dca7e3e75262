"""What does an endpoint know? The provider it asks, and the request, read and checked."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import unquote

import anyio
import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from engine.errors import InstanceNotFound, UsageError
from engine.metrics import Metrics
from engine.model.messages import AnyMessage
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.views import InstanceInfo
from engine.port import InstanceView, Mailbox, ProviderAdmin
from provider_log.answers import Listed, PartitionDigest
from provider_log.partition.ownership import Phase
from provider_log.server import shapes, wire

AnyStruct = TypeVar("AnyStruct", bound=Struct)


class Served(Mailbox, InstanceView, ProviderAdmin, Protocol):
    """What a node serves: a provider's ways in and out, and what it owns."""

    @property
    def app(self) -> str:
        """Name of the application whose partitions these are."""
        ...

    @property
    def partitions(self) -> int:
        """How many there are."""
        ...

    @property
    def ready(self) -> bool:
        """Whether every partition that is to be here is owned and restored."""
        ...

    @property
    def answers(self) -> bool:
        """Whether calls make sense yet; one that concerns a partition nobody owns now is told so by itself."""
        ...

    async def listed(self, *, status: Status | None, name: str | None, limit: int, after: str | None) -> Listed:
        """As `list_instances`, with the partitions that were looked at."""
        ...

    async def digest(self, partition: int) -> PartitionDigest:
        """What the state of `partition` hashes to, and at which offset of its changelog."""
        ...

    def phases(self) -> Mapping[int, Phase]:
        """Where each partition stands that this node owns or is about to."""
        ...

    @property
    def fenced_commits(self) -> int:
        """How many commits were refused because another node had taken the partition."""
        ...


class BodyTooLarge(UsageError):
    """More bytes than the node is willing to hold for one request."""


Measure = Callable[[], Awaitable[Metrics]]
"""Asks the engine of this node how it is."""


class Ask(NamedTuple):
    """One request at one endpoint."""

    served: Served
    closing: anyio.Event
    request: Request
    measure: Measure | None = None

    def segment(self, name: str) -> str:
        """A part of the path, decoded.

        Raises:
            UsageError: It is no percent-encoded UTF-8.
        """
        try:
            return unquote(self.request.path_params[name], errors="strict")
        except UnicodeDecodeError as error:
            raise UsageError(f"expected percent-encoded UTF-8 in the path, but {error.reason} in {name}") from None

    @property
    def instance(self) -> str:
        return self.segment("instance")

    def query(self, kind: type[AnyStruct]) -> AnyStruct:
        """The query as a `kind`.

        Raises:
            UsageError: It has another field, a field twice, or a value that does not fit.
        """
        items = self.request.query_params.multi_items()
        if len(items) != len({name for name, _ in items}):
            raise UsageError("expected each field of the query once, but one is there twice")
        try:
            return msgspec.convert(dict(items), kind, strict=False)
        except msgspec.ValidationError as error:
            raise UsageError(f"expected a query of {_fields_of(kind)}, but: {error}") from None

    async def body(self) -> bytes:
        """All of the body.

        Raises:
            BodyTooLarge: It is longer than this node takes.
        """
        data = bytearray()
        async for chunk in self.request.stream():
            data += chunk
            if len(data) > shapes.BODY_BYTES_MAX:
                raise BodyTooLarge(f"expected a body of at most {shapes.BODY_BYTES_MAX} bytes, but it is longer")
        return bytes(data)

    async def body_as(self, kind: type[AnyStruct]) -> AnyStruct:
        """The body as a `kind`; an empty one as `{}`.

        Raises:
            UsageError: It is not JSON, or does not fit.
        """
        try:
            return wire.decode(await self.body() or b"{}", kind)
        except wire.UNREADABLE as error:
            raise UsageError(f"expected a JSON object of {_fields_of(kind)}, but: {error}") from None

    async def payload(self) -> Payload:
        """The body as a value of the user; an empty one is that of None.

        Raises:
            UsageError: It is not JSON.
        """
        try:
            return wire.payload_of(await self.body())
        except wire.UNREADABLE as error:
            raise UsageError(f"expected a body of JSON, but: {error}") from None

    @property
    def message_id(self) -> str | None:
        """The `Idempotency-Key`: the second message with the same one is dropped.

        Raises:
            UsageError: It is empty or too long to be remembered.
        """
        key = self.request.headers.get("idempotency-key")
        if key is not None and not 1 <= len(key) <= shapes.MESSAGE_ID_CHARS_MAX:
            raise UsageError(
                f"expected an Idempotency-Key of 1 to {shapes.MESSAGE_ID_CHARS_MAX} characters, but it has {len(key)}"
            )
        return key

    @property
    def traceparent(self) -> str | None:
        return self.request.headers.get("traceparent")

    async def existing(self) -> InstanceInfo:
        """The state of the instance in the path.

        Raises:
            InstanceNotFound: There is none.
        """
        if found := await self.served.get_instance_info(self.instance):
            return found
        raise InstanceNotFound(f"expected an instance {self.instance!r}, but there is none")

    async def put(self, message: AnyMessage, delay_ms: int | None = None) -> Response:
        """Put `message` in its queue, after `delay_ms` or the query's delay, and say so."""
        delay_ms = self.query(shapes.MessageQuery).delay_ms if delay_ms is None else delay_ms
        await self.served.enqueue_for_orchestrator(message, delay_ms)
        return json_response(shapes.Accepted(message.instance), HTTPStatus.ACCEPTED)


def json_response(value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """An answer that is no problem."""
    return Response(wire.encode(value), status, media_type="application/json")


def _fields_of(kind: type[Struct]) -> str:
    return ", ".join(kind.__struct_fields__) or "no fields"
