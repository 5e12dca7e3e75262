"""Which work items does a worker take? Those whose tag it serves, and those without one unless it says otherwise."""

from collections.abc import Iterable

from msgspec import Struct

from engine.errors import UsageError

TAGS_MAX = 5
"""Of one filter: each is one more queue to look at in every fetch."""

TAG_BYTES_MAX = 256


class TagFilter(Struct, frozen=True):
    """What a worker takes. Made with one of the constructors below; tags are compared as they are written.

    Attributes:
        untagged: Whether it takes items without a tag.
        tagged: The tags it takes; None for every tag there is.

    Raises:
        UsageError: There are more than `TAGS_MAX` tags, or one is not a text of 1 to `TAG_BYTES_MAX` bytes.
    """

    untagged: bool
    tagged: frozenset[str] | None

    def __post_init__(self) -> None:
        tags = self.tagged or frozenset[str]()
        if len(tags) > TAGS_MAX:
            raise UsageError(f"expected at most {TAGS_MAX} tags, but there are {len(tags)}: {sorted(tags)}")
        for tag in tags:
            size = len(tag.encode("utf-8", "surrogatepass"))
            if not 1 <= size <= TAG_BYTES_MAX:
                raise UsageError(f"expected a tag of 1 to {TAG_BYTES_MAX} bytes, but {tag[:40]!r} has {size}")

    @classmethod
    def default_only(cls) -> "TagFilter":
        """Items without a tag."""
        return cls(untagged=True, tagged=frozenset())

    @classmethod
    def only(cls, tags: Iterable[str]) -> "TagFilter":
        """Items with one of `tags`. Raises as the class says."""
        return cls(untagged=False, tagged=frozenset(tags))

    @classmethod
    def default_and(cls, tags: Iterable[str]) -> "TagFilter":
        """Items without a tag, and those with one of `tags`. Raises as the class says."""
        return cls(untagged=True, tagged=frozenset(tags))

    @classmethod
    def nothing(cls) -> "TagFilter":
        """No item at all: its engine runs orchestrations alone."""
        return cls(untagged=False, tagged=frozenset())

    @classmethod
    def everything(cls) -> "TagFilter":
        """Every item, whatever its tag."""
        return cls(untagged=True, tagged=None)

    def takes(self, tag: str | None) -> bool:
        """Whether an item with `tag`, or without one, is for this worker."""
        return self.untagged if tag is None else self.tagged is None or tag in self.tagged


DEFAULT_ONLY = TagFilter.default_only()
"""What a worker takes that says nothing."""
