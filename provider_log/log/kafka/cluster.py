"""Which brokers are there, which of them leads a partition, and who else may be asked?"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka.protocol.api import Request
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest, MetadataResponse_v5

from engine.clock import Clock
from engine.runtime.doors import within
from provider_log.log.kafka.codes import COORDINATOR_ELSEWHERE, ELSEWHERE, Code, name_of, refusal
from provider_log.log.kafka.link import Address, Links, Unanswered, Unsent
from provider_log.log.port import LogBroken, LogUnavailable, UnknownTopic

Answer = TypeVar("Answer")

_GROUP, _TRANSACTION = 0, 1  # kinds of coordinators
_RETRY_MS = 20


class Elsewhere(Exception):
    """The broker did nothing: another one is the partition's leader, or none is now."""


class Cluster:
    """The brokers of one cluster.

    Args:
        bootstrap: Where to begin.
        links: The connections for questions that may be asked again.
        clock: The bound of every wait.
    """

    def __init__(self, bootstrap: list[Address], links: Links, clock: Clock) -> None:
        self._bootstrap = bootstrap
        self._links = links
        self._clock = clock
        self._brokers: dict[int, Address] = {}
        self._leaders: dict[str, dict[int, int]] = {}
        self.cluster_id = ""

    async def ask_any(self, request: Request[Answer]) -> Answer:
        """Ask one broker after another until one answers, those of the bootstrap list last.

        Raises:
            LogUnavailable: None does.
        """
        errors: list[str] = []
        for address in dict.fromkeys([*self._brokers.values(), *self._bootstrap]):
            try:
                return await self._links.ask(address, request)
            except (Unsent, Unanswered) as error:
                errors.append(str(error))
        raise LogUnavailable("; ".join(errors))

    async def look(self, topics: list[str]) -> MetadataResponse_v5:
        """Learn who is there, and who leads the partitions of `topics`. No topic is created by being asked for."""
        answer = await self.ask_any(MetadataRequest(topics, allow_auto_topic_creation=False))
        self._brokers = {node: Address(host, port) for node, host, port, _ in answer.brokers}
        self.cluster_id = answer.cluster_id or self.cluster_id
        for code, topic, _, partitions in answer.topics:
            if code == Code.NONE:
                self._leaders[topic] = {partition: leader for _, partition, leader, _, _, _ in partitions}
            elif code in ELSEWHERE:
                self._leaders.pop(topic, None)
            else:
                raise refusal(code, f"to see topic {topic}")
        return answer

    @property
    def size(self) -> int:
        """How many brokers there are."""
        return len(self._brokers)

    async def partition_count(self, topic: str) -> int | None:
        """Number of partitions, or None if there is no such topic."""
        if topic not in self._leaders:
            await self.look([topic])
        return len(self._leaders[topic]) if topic in self._leaders else None

    async def leader(self, topic: str, partition: int) -> Address:
        """Where the leader of a partition listens.

        Raises:
            UnknownTopic: There is no such topic or partition.
            LogUnavailable: It has no leader now.
        """
        known = self._leaders.get(topic, {}).get(partition)
        if known not in self._brokers:
            await self.look([topic])
        leaders = self._leaders.get(topic)
        if leaders is None:
            raise UnknownTopic(f"expected a topic that was created, but got {topic}")
        if partition not in leaders:
            raise UnknownTopic(f"expected a partition of {topic} below {len(leaders)}, but got {partition}")
        address = self._brokers.get(leaders[partition])
        if address is None:
            raise LogUnavailable(f"expected a leader of {topic}/{partition}, but it has none now")
        return address

    def moved(self, topic: str) -> None:
        """Forget who leads the partitions of a topic: the next question finds out."""
        self._leaders.pop(topic, None)

    async def coordinator(self, transactional_id: str) -> Address | None:
        """The broker that decides the transactions of an id; None while there is none."""
        return await self._coordinator(transactional_id, _TRANSACTION)

    async def group_coordinator(self, group: str) -> Address | None:
        """The broker that knows the members of a group; None while there is none."""
        return await self._coordinator(group, _GROUP)

    async def _coordinator(self, key: str, kind: int) -> Address | None:
        answer = await self.ask_any(FindCoordinatorRequest(key, kind))
        if answer.error_code in COORDINATOR_ELSEWHERE:
            return None
        if answer.error_code != Code.NONE:
            raise refusal(answer.error_code, f"to find the coordinator of {key}")
        return Address(answer.host, answer.port)

    async def at_leader(
        self, topic: str, partition: int, ask: Callable[[Address], Awaitable[Answer]], timeout_ms: int
    ) -> Answer:
        """Do `ask` with the leader of a partition, again if it moved or does not answer: only what may be repeated.

        Raises:
            LogUnavailable: No leader did it within `timeout_ms`.
            UnknownTopic: There is no such topic or partition.
        """
        last = "no answer"

        async def until_done() -> Answer:
            nonlocal last
            while True:
                try:
                    return await ask(await self.leader(topic, partition))
                except LogBroken:
                    raise
                except (Elsewhere, Unsent, Unanswered, LogUnavailable) as error:
                    last = str(error)
                    self.moved(topic)
                    await self._clock.sleep_ms(_RETRY_MS)

        try:
            return await within(self._clock, until_done(), timeout_ms)
        except TimeoutError as error:
            raise LogUnavailable(
                f"expected the leader of {topic}/{partition} within {timeout_ms} ms, but: {last}"
            ) from error


def check_leader(code: int, what: str) -> None:
    """Raise what the code of an answer to a leader's question means, if it means that nothing was done.

    Raises:
        Elsewhere: Another broker leads.
        LogUnavailable, LogBroken: It was refused; `what` says what was expected.
    """
    if code in ELSEWHERE:
        raise Elsewhere(f"expected {what}, but the broker answers {name_of(code)}")
    if code != Code.NONE:
        raise refusal(code, what)
