"""Which schema has an id in a registry? Asked over HTTP, `GET /schemas/ids/{id}`, and known for ever once it is told.

An id never gets another schema, so what was told needs no second look. What was not told is asked again after a while:
a registry that is away, or that does not know an id, decides nothing about the records that wait for it.
"""

import asyncio
import contextlib
from collections.abc import Iterable

import httpx
import msgspec

from engine.clock import Clock
from engine.observe import known_marks, logger, mark
from engine.runtime.doors import Tasks, within
from provider_log import codec

log = logger("registry")
known_marks("registry.away", "registry.unknown_id")

AGAIN_MS = 2_000
"""Until a registry that did not answer, or did not know an id, is asked again."""

IDS_AT_ONCE = 64
_ANSWER_BYTES_MAX = 1024 * 1024
_ANSWER_S = 5.0
_CONNECTIONS_MAX = 4
_OK, _NOT_FOUND = 200, 404


class _Answer(msgspec.Struct):
    """What a registry says of an id; the kind is left out for Avro."""

    schema: str
    schemaType: str = "AVRO"  # noqa: N815  # the registry's name


class _Away(Exception):
    """The registry does not answer, or not as one does."""


class SchemaRegistry:
    """The schemas of a registry, as far as anybody asked.

    Args:
        url: Where it answers; a name and a password may stand in it.
        clock: Of the waits.

    Attributes:
        known: What was told, by id.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        # No compression: what is small on the way might be as large as it likes here.
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/",
            headers={"accept-encoding": "identity"},
            timeout=httpx.Timeout(_ANSWER_S, pool=None),
            limits=httpx.Limits(max_connections=_CONNECTIONS_MAX),
        )
        self._tasks = Tasks("registry", self._broke)
        self._asking: dict[int, asyncio.Task[None]] = {}
        self._again_ms: dict[int, int] = {}  # ids it did not know, and when to ask again
        self._away_until_ms = 0
        self.known: dict[int, codec.Registered] = {}

    async def learn(self, ids: Iterable[int], patience_ms: int) -> None:
        """Ask for what is not known, and wait that long for answers; those that come later are known then."""
        now_ms = self._clock.boot_ms()
        self._again_ms = {number: at_ms for number, at_ms in self._again_ms.items() if at_ms > now_ms}
        wanted = [number for number in sorted(set(ids)) if number not in self.known and number not in self._again_ms]
        for number in wanted[:IDS_AT_ONCE]:
            if number not in self._asking and now_ms >= self._away_until_ms:
                self._asking[number] = self._tasks.spawn(str(number), self._ask_once(number))
        asking = [self._asking[number] for number in wanted if number in self._asking]
        if asking:
            with contextlib.suppress(TimeoutError):
                await within(self._clock, asyncio.wait(asking), patience_ms)

    async def close(self) -> None:
        """Ask no more."""
        await self._tasks.aclose(self._clock, patience_ms=1_000)
        await self._http.aclose()

    async def _ask_once(self, number: int) -> None:
        try:
            await self._ask(number)
        except (_Away, httpx.HTTPError, httpx.InvalidURL) as error:
            self._is_away(str(error) or type(error).__name__)
        finally:
            del self._asking[number]

    async def _ask(self, number: int) -> None:
        async with self._http.stream("GET", f"schemas/ids/{number}") as response:
            if response.status_code == _NOT_FOUND:
                mark("registry.unknown_id")
                log.warning("expected schema %d in the registry, but it does not know it; its records wait", number)
                self._again_ms[number] = self._clock.boot_ms() + AGAIN_MS
                return
            if response.status_code != _OK:
                raise _Away(f"it answers {response.status_code}")
            body = b""
            async for part in response.aiter_raw():
                body += part
                if len(body) > _ANSWER_BYTES_MAX:
                    self.known[number] = f"expected an answer of at most {_ANSWER_BYTES_MAX} bytes, but it is longer"
                    return
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Away(f"it answers what is no schema: {error}") from error
        if answer.schemaType != "AVRO":
            self.known[number] = f"expected an Avro schema, but it is {answer.schemaType[:40]!r}"
        else:
            self.known[number] = codec.registered_as(answer.schema)

    def _is_away(self, why: str) -> None:
        mark("registry.away")
        log.warning("expected the schema registry to answer, but %s; records that need it wait", why)
        self._away_until_ms = self._clock.boot_ms() + AGAIN_MS

    def _broke(self, error: BaseException) -> None:
        """A defect of ours: the records wait, and whoever reads the log of the node sees why."""
        log.error("expected an answer of the schema registry to be read, but", exc_info=error)
