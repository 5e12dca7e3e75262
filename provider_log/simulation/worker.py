"""Runs seeds, one after another, and prints a line of JSON for each. A process of its own, with PYTHONHASHSEED=0.

python -m provider_log.simulation.worker FIRST END STEP
"""

import logging
import sys

import msgspec

from provider_log.simulation.seed import run_seed


def main(first: int, end: int, step: int) -> None:
    """Run the seeds of a range."""
    logging.disable(logging.CRITICAL)  # what nodes say of faults that were meant
    encode = msgspec.json.Encoder().encode
    for seed in range(first, end, step):
        sys.stdout.buffer.write(encode(run_seed(seed)) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]))
