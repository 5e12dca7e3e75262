"""By whose rules does an execution run, and who knows them?

An execution is run by the rules of the engine that began it, for as long as it lasts: a newer engine keeps the older
rules, an older one does not know the newer. The version of its rules is the execution's *pin*.
"""

from msgspec import Struct


class EngineVersion(Struct, frozen=True, order=True):
    """A version of the engine's rules. Versions are ordered: major first, patch last."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


class VersionRange(Struct, frozen=True):
    """The pins that an engine can run, both ends included; nothing at all if `first` is above `last`."""

    first: EngineVersion
    last: EngineVersion

    def takes(self, pin: EngineVersion | None) -> bool:
        """Whether an execution with this `pin` is one of them; one without a pin is for whoever runs anything."""
        return self.first <= self.last if pin is None else self.first <= pin <= self.last


RULES = EngineVersion(1, 0, 0)
"""What this engine pins an execution to that it begins. Raised by a change that would make an old history run in
another way; the older rules stay beside it, chosen by the pin."""

SUPPORTED = VersionRange(EngineVersion(0, 0, 0), RULES)
"""The pins that this engine can run."""
