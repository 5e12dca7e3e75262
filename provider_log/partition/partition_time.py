"""What time is it in a partition? A clock that never goes back, over owners with clocks of their own.

At acquire it starts at the later of the wall clock and the last committed time; then it follows the monotonic clock,
drawn towards the wall clock by at most a tenth of the elapsed time. So a new owner whose clock is behind neither
repeats time nor freezes it, and a wall clock that steps moves nothing at once.
"""

from engine.clock import Clock

SLEW_DIVISOR = 10  # at most a tenth: 5 s of skew, the most an owner may have, is gone after 50 s


class PartitionTime:
    """Milliseconds since 1970 as one partition counts them."""

    def __init__(self, clock: Clock, committed_ms: int) -> None:
        self._clock = clock
        self._boot_ms = clock.boot_ms()
        self._time_ms = max(clock.now_ms(), committed_ms)
        self._slewed_of_ms = 0  # elapsed time whose tenth is not yet used up

    def now_ms(self) -> int:
        """Now; never less than the call before."""
        boot_ms = self._clock.boot_ms()
        elapsed_ms = boot_ms - self._boot_ms
        if elapsed_ms <= 0:
            return self._time_ms
        self._boot_ms = boot_ms
        self._time_ms += elapsed_ms
        ahead_ms = self._time_ms - self._clock.now_ms()
        if ahead_ms == 0:
            self._slewed_of_ms = 0
            return self._time_ms
        allowed_ms, self._slewed_of_ms = divmod(self._slewed_of_ms + elapsed_ms, SLEW_DIVISOR)
        self._time_ms -= max(-allowed_ms, min(allowed_ms, ahead_ms, elapsed_ms))
        return self._time_ms
