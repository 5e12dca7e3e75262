"""What goes wrong in a simulated cluster, how often, and how often it did?"""

from collections import Counter
from collections.abc import Callable, Mapping

from engine.runtime.doors import Chance
from provider_log.log.simulated import Delay, Faults, Late, LoseReply, LoseRequest, TimeOut, Unavailable
from provider_log.log.simulated.faults import Fault, Operation

WRITES: tuple[Fault, ...] = (LoseReply(), LoseRequest(), Late(10), Late(100), Delay(300), Unavailable())
# No Resend: a connection brings nothing twice, and every request of a transaction is sent once. With copies of ends the
# seeds do find a batch without the one before it: what comes of a client that asks again (KAFKA-17754).
ODDS: Mapping[Operation, tuple[Fault, ...]] = {
    "commit": (*WRITES, TimeOut()),
    "produce": (*WRITES, TimeOut()),
    "begin": WRITES,
    "append": WRITES,
    "open_producer": (LoseReply(), LoseRequest(), Late(50), Unavailable()),
    "delete_records": (LoseReply(), Unavailable()),
    "bounds": (Unavailable(),),
    "read": (LoseReply(), Unavailable()),
}
SQUALL_SHARE = 0.3


class Weather(Faults):
    """Faults of the log by odds, more in a squall, until it is over; whatever else goes wrong is noted here too.

    Args:
        share: Of the requests that meet a fault, each kind that fits as likely as the others.
        chance: Draws them.
        struck: Told each request that meets a fault, and which: one seldom comes alone.

    Attributes:
        is_squall: Many requests in a row fail now: one failure is handled while the next one comes.
        is_over: None does any more.
        commits_heard: A coordinator that is in trouble hears so many more commits, and no others; None: it is well.
        requests: How many there were.
        happened: How often each kind of fault did.
    """

    def __init__(self, share: float, chance: Chance, struck: Callable[[Operation, Fault], None]) -> None:
        super().__init__()
        self._share = share
        self._draws = chance
        self._struck = struck
        self.is_squall = False
        self.is_over = False
        self.commits_heard: int | None = None
        self.requests = 0
        self.happened: Counter[str] = Counter()

    def draw(self, operation: Operation) -> Fault | None:
        self.requests += 1
        kinds = ODDS.get(operation)
        if self.is_over or kinds is None:
            return None
        if operation == "commit" and self.commits_heard is not None:
            self.commits_heard -= 1
            if self.commits_heard < 0:
                self.note("LoseRequest")
                return LoseRequest()
        drawn = self._draws.uniform(0, 1) / (SQUALL_SHARE if self.is_squall else self._share)
        if drawn >= 1:
            return None
        fault = kinds[int(drawn * len(kinds))]
        self.note(type(fault).__name__)
        self._struck(operation, fault)
        return fault

    def note(self, kind: str) -> None:
        """A fault of this kind happened."""
        self.happened[kind] += 1
