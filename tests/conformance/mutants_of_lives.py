"""What can go wrong when an instance begins anew? One class a fault."""

from collections.abc import Awaitable

from msgspec import structs

from engine.model.messages import AnyMessage, External
from engine.model.turn import TurnResult
from engine.testing.memory_queues import OrchestratorQueue
from tests.conformance.mutant import Mutant


class NewLifeIgnored(Mutant):
    """A new life is one more execution."""

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        metadata = structs.replace(result.metadata, new_life=False)
        return super().ack_orchestration_item(lock_token, structs.replace(result, metadata=metadata))


class NewLifeForgetsItsOwnKeys(Mutant):
    """What the first turn of a new life keeps goes with what the life before had kept."""

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        kept = () if result.metadata.new_life else result.key_values
        return super().ack_orchestration_item(lock_token, structs.replace(result, key_values=kept))


class StartIdOfTheFirstLifeKept(Mutant):
    """Whose start began the first life began all."""

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        start_id = None if result.metadata.new_life else result.metadata.start_id
        metadata = structs.replace(result.metadata, start_id=start_id)
        return super().ack_orchestration_item(lock_token, structs.replace(result, metadata=metadata))


class _KnownWhenQueued(OrchestratorQueue):
    def put(self, message: AnyMessage, delay_ms: int = 0) -> None:
        super().put(message, delay_ms)
        if isinstance(message, External) and message.message_id is not None:
            self._consumed.add((message.instance, message.message_id))


class ConsumedWhenQueued(Mutant):
    """A message counts as consumed when it is in the queue."""

    messages_type = _KnownWhenQueued


class ConsumedByAnybody(Mutant):
    """What one instance has consumed all have."""

    async def has_consumed(self, instance: str, message_id: str) -> bool:
        del instance
        return await super().has_consumed("instance-A", message_id)
