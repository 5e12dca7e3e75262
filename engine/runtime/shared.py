"""What do the two dispatchers of one engine share?"""

from collections.abc import Callable
from dataclasses import dataclass

from engine.clock import Clock
from engine.converter import Converter
from engine.observe import Counters
from engine.port import Provider
from engine.registry import Registry
from engine.runtime.doors import Chance
from engine.runtime.options import EngineOptions
from engine.runtime.tally import Tally


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The parts of one engine.

    Attributes:
        fail: Ends the engine with an error; the first one wins.
    """

    provider: Provider
    registry: Registry
    converter: Converter
    options: EngineOptions
    clock: Clock
    chance: Chance
    counters: Counters
    tally: Tally
    fail: Callable[[BaseException], None]
