"""Does a tag filter take what it says, and refuse to be one that cannot be followed?"""

from collections.abc import Callable

import pytest

from engine.errors import UsageError
from engine.model.tags import DEFAULT_ONLY, TAG_BYTES_MAX, TAGS_MAX, TagFilter


@pytest.mark.parametrize(
    ("tags", "takes"),
    [
        (DEFAULT_ONLY, {None}),
        (TagFilter.only(["gpu"]), {"gpu"}),
        (TagFilter.default_and(["gpu", "cpu"]), {None, "gpu", "cpu"}),
        (TagFilter.nothing(), set[str | None]()),
        (TagFilter.everything(), {None, "gpu", "cpu", "gpu-2"}),
    ],
)
def test_a_filter_takes_what_it_says(tags: TagFilter, takes: set[str | None]) -> None:
    assert {tag for tag in (None, "gpu", "cpu", "gpu-2") if tags.takes(tag)} == takes


@pytest.mark.parametrize("make", [TagFilter.only, TagFilter.default_and])
def test_a_filter_that_cannot_be_followed_is_refused(make: Callable[[list[str]], TagFilter]) -> None:
    assert make([str(number) for number in range(TAGS_MAX)]).takes("4")
    assert make(["ü" * (TAG_BYTES_MAX // 2)] * 9).takes("ü" * (TAG_BYTES_MAX // 2))
    with pytest.raises(UsageError, match="expected at most 5 tags, but there are 6"):
        make([str(number) for number in range(TAGS_MAX + 1)])
    with pytest.raises(UsageError, match="expected a tag of 1 to 256 bytes, but 'üüü"):
        make(["ü" * (TAG_BYTES_MAX // 2 + 1)])
    with pytest.raises(UsageError, match="expected a tag of 1 to 256 bytes, but '' has 0"):
        make([""])
