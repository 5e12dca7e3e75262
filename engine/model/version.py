"""Which version of the engine is it, and which executions may it run?"""

from msgspec import Struct


class EngineVersion(Struct, frozen=True, order=True):
    """A version of the engine. What a version may change for executions that run already, its pin decides."""

    major: int
    minor: int
    patch: int


class VersionRange(Struct, frozen=True):
    """Pins an engine can run, both ends included; none if `first` is above `last`."""

    first: EngineVersion
    last: EngineVersion

    def takes(self, pin: EngineVersion | None) -> bool:
        """Whether an execution with this `pin` is one; an execution without a pin is for everybody."""
        return pin is None or self.first <= pin <= self.last
