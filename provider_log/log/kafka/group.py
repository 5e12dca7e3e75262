"""How does a process become a member of a consumer group, and how long is it one? The classic protocol, by hand.

A consumer of aiokafka's cannot be asked whether its membership still holds, and stops its heartbeats while its
callbacks run; here a heartbeat is a call with an answer, and what is placed where is the caller's own business.
"""

from collections.abc import Callable, Mapping, Sequence

from aiokafka.protocol.group import (
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    MemberAssignment,
    ProtocolMetadata,
    SyncGroupRequest,
)
from msgspec import Struct

from engine.clock import Clock
from provider_log.log.kafka.cluster import Cluster
from provider_log.log.kafka.codes import COORDINATOR_ELSEWHERE, Code, name_of, refusal
from provider_log.log.kafka.link import Address, Links, Unanswered, Unsent
from provider_log.log.port import LogUnavailable

_CONSUMER = "consumer"
"""The type of group whose members Kafka's own tools can show."""

_PROTOCOL = "turnlog"
_VERSION = 0
_RETRY_MS = 100


class Share(Struct, frozen=True):
    """What one member gets: partitions of the group's topic, and whatever the leader tells it."""

    partitions: Sequence[int]
    said: bytes


class Joined(Struct, frozen=True):
    """A member's share, and the generation it belongs to."""

    generation: int
    said: bytes


Divide = Callable[[int, Mapping[str, bytes]], Mapping[str, Share]]
"""Called at the leader with the generation and what each member said of itself; the share of each."""


class KafkaGroup:
    """One member of a group. Not for use by two tasks at once.

    Args:
        name: Of the group.
        topic: What its members are said to read, for Kafka's tools.
        cluster: The brokers.
        links: Its own connections.
        clock: Of the pauses.
        session_ms: After so long without a heartbeat the group goes on without it.
    """

    def __init__(self, name: str, topic: str, *, cluster: Cluster, links: Links, clock: Clock, session_ms: int) -> None:
        self._name = name
        self._topic = topic
        self._cluster = cluster
        self._links = links
        self._clock = clock
        self._session_ms = session_ms
        self._member_id: str = ""
        self._generation: int = -1

    async def join(self, about: bytes, divide: Divide) -> Joined:
        """Be a member of the next generation. Tries until it is one.

        Args:
            about: What the leader shall know of this member.
            divide: What to do if this member is the leader.

        Raises:
            LogUnavailable: It is refused; the text says why.
        """
        while True:
            try:
                joined = await self._try_to_join(about, divide)
            except (Unsent, Unanswered):
                joined = None
            if joined is not None:
                return joined
            await self._clock.sleep_ms(_RETRY_MS)

    async def beat(self) -> bool:
        """Say that it is alive; whether its generation is still the newest, so that its share holds.

        Raises:
            LogUnavailable: No answer.
        """
        request = HeartbeatRequest(self._name, self._generation, self._member_id)
        try:
            coordinator = await self._coordinator()
            if coordinator is None:
                raise LogUnavailable(f"expected a coordinator of group {self._name}, but it has none now")
            code = (await self._links.ask(coordinator, request)).error_code
        except (Unsent, Unanswered) as error:
            raise LogUnavailable(str(error)) from error
        if code in COORDINATOR_ELSEWHERE:
            raise LogUnavailable(
                f"expected a coordinator of group {self._name}, but the broker answers {name_of(code)}"
            )
        self._forget_if_unknown(code)
        return code == Code.NONE

    async def leave(self) -> None:
        """Let the group go on without it at once. Never raises: without an answer its session ends by itself."""
        member_id, self._member_id = self._member_id, ""
        if member_id:
            try:
                coordinator = await self._coordinator()
                if coordinator is not None:
                    await self._links.ask(coordinator, LeaveGroupRequest(self._name, member_id))
            except (Unsent, Unanswered, LogUnavailable):
                pass

    async def _try_to_join(self, about: bytes, divide: Divide) -> Joined | None:
        """Go through one round of joining; None if it has to be begun anew."""
        coordinator = await self._coordinator()
        if coordinator is None:
            return None
        metadata = ProtocolMetadata(_VERSION, [self._topic], about).encode()
        request = JoinGroupRequest(
            self._name,
            self._session_ms,
            self._session_ms,
            self._member_id,
            None,
            _CONSUMER,
            [(_PROTOCOL, metadata)],
        )
        answer = await self._links.ask(coordinator, request, longer_ms=self._session_ms)
        if answer.error_code == Code.MEMBER_ID_REQUIRED:
            self._member_id = answer.member_id
            return None
        if not self._goes_on(answer.error_code, f"to join group {self._name}"):
            return None
        self._member_id, self._generation = answer.member_id, answer.generation_id
        shares: list[tuple[str, bytes]] = []
        if answer.leader_id == answer.member_id:
            said = {member: ProtocolMetadata.decode(data).user_data for member, _, data in answer.members}
            divided = divide(self._generation, said)
            shares = [(member, self._encoded(share)) for member, share in divided.items()]
        sync = SyncGroupRequest(self._name, self._generation, self._member_id, None, shares)
        synced = await self._links.ask(coordinator, sync, longer_ms=self._session_ms)
        if not self._goes_on(synced.error_code, f"a share of group {self._name}"):
            return None
        return Joined(self._generation, MemberAssignment.decode(synced.member_assignment).user_data)

    def _encoded(self, share: Share) -> bytes:
        return MemberAssignment(_VERSION, [(self._topic, list(share.partitions))], share.said).encode()

    def _goes_on(self, code: int, what: str) -> bool:
        """Whether the round goes on; False if it has to be begun anew.

        Raises:
            LogUnavailable: It is refused.
        """
        self._forget_if_unknown(code)
        if code in COORDINATOR_ELSEWHERE | _BEGIN_ANEW:
            return False
        if code != Code.NONE:
            raise refusal(code, what)
        return True

    def _forget_if_unknown(self, code: int) -> None:
        if code in {Code.UNKNOWN_MEMBER_ID, Code.ILLEGAL_GENERATION}:
            self._member_id = ""

    async def _coordinator(self) -> Address | None:
        return await self._cluster.group_coordinator(self._name)


_BEGIN_ANEW = frozenset({Code.REBALANCE_IN_PROGRESS, Code.UNKNOWN_MEMBER_ID, Code.ILLEGAL_GENERATION})
