"""Is the one who started an instance told so, whenever the turn that decides comes between two of the questions?"""

from typing import Any

import pytest

from engine.begun import begun
from engine.errors import InstanceExists
from engine.model.status import Status
from engine.model.views import InstanceInfo

pytestmark = pytest.mark.anyio

MINE = "mine"


class Overtaken:
    """A view in which the start is consumed before question number `at` is answered: an instance runs already.

    Args:
        at: Which question, from 0.
        begins: Whether the start begins the instance anew, or changes nothing.
    """

    def __init__(self, at: int, *, begins: bool) -> None:
        self._left = at
        self._begins = begins
        self._revision = 7
        self._start_id = "another"
        self._consumed = False

    def _ask(self) -> None:
        if self._left == 0:
            self._consumed, self._revision = True, self._revision + 1
            self._start_id = MINE if self._begins else self._start_id
        self._left -= 1

    async def has_consumed(self, instance: str, message_id: str) -> bool:
        assert (instance, message_id) == ("a", MINE)
        self._ask()
        return self._consumed

    async def get_instance_info(self, instance: str) -> InstanceInfo:
        self._ask()
        return InstanceInfo(
            instance=instance, orchestration_name="x", orchestration_version="1", current_execution_id=1,
            status=Status.RUNNING, revision=self._revision, created_at_ms=1, updated_at_ms=1, start_id=self._start_id,
        )  # fmt: skip

    async def changed(self, instance: str, seen: int) -> InstanceInfo:
        """A wait ends by a revision that is there, or by the turn that decides, if that is still to come."""
        self._ask()
        while self._revision <= seen:
            assert self._left >= 0, f"expected a change after revision {seen}, but nothing will ever come"
            self._ask()
        return await self.get_instance_info(instance)


@pytest.mark.parametrize("at", range(12))
async def test_a_start_that_begins_is_told_so(at: int) -> None:
    view: Any = Overtaken(at, begins=True)
    assert (await begun(view, "a", MINE)).start_id == MINE


@pytest.mark.parametrize("at", range(12))
async def test_a_start_that_changes_nothing_is_told_so(at: int) -> None:
    view: Any = Overtaken(at, begins=False)
    with pytest.raises(InstanceExists, match="exists and is running: begun by another start"):
        await begun(view, "a", MINE)
