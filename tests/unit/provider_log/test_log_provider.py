"""Does a provider know its own data again, and say what does not fit?"""

from pathlib import Path

import pytest

from engine.errors import UsageError
from provider_log import LogProvider

pytestmark = pytest.mark.anyio


async def test_new_data_has_one_partition_unless_told_otherwise(tmp_path: Path) -> None:
    async with LogProvider.embedded(tmp_path) as provider:
        assert provider.partitions == 1
        assert provider.ready


async def test_the_partitions_of_data_that_is_there_need_not_be_said_again(tmp_path: Path) -> None:
    async with LogProvider.embedded(tmp_path, partitions=3):
        pass
    async with LogProvider.embedded(tmp_path) as provider:
        assert provider.partitions == 3
        assert [(await provider.digest(number)).partition for number in range(3)] == [0, 1, 2]


async def test_another_number_of_partitions_is_refused(tmp_path: Path) -> None:
    async with LogProvider.embedded(tmp_path, partitions=3):
        pass
    with pytest.raises(UsageError, match="expected 2 partitions of application 'turnlog', but the log has 3"):
        async with LogProvider.embedded(tmp_path, partitions=2):
            pass


@pytest.mark.parametrize(("app", "partitions"), [("Turnlog", 1), ("", 1), ("turnlog", 0)])
async def test_names_and_numbers_that_cannot_be_are_refused(app: str, partitions: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected an application name of small letters"):
        LogProvider.embedded(tmp_path, app=app, partitions=partitions)
