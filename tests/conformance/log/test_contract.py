"""Does every log keep every promise of the port?"""

import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.conformance.log import contract
from tests.conformance.log.factory import FACTORIES, LogFactory, OpenFactory


@pytest.mark.parametrize("promise", contract.PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("open_factory", FACTORIES, ids=lambda open_factory: open_factory.__name__)
async def test_a_log_keeps_its_promise(
    open_factory: OpenFactory, promise: Callable[[LogFactory], Awaitable[None]], tmp_path: Path
) -> None:
    async with open_factory(tmp_path) as factory:
        await promise(factory)


def test_no_promise_is_left_out() -> None:
    written = [
        value
        for value in vars(contract).values()
        if inspect.iscoroutinefunction(value) and list(inspect.signature(value).parameters) == ["factory"]
    ]
    assert written == list(contract.PROMISES)
