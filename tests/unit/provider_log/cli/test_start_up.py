"""Does a command of a client start without what only a node needs?"""

import subprocess
import sys

# With these comes most of the time a command takes to say anything.
HEAVY = ("fastavro", "provider_log.log_provider", "rocksdict", "uvicorn", "uvloop")


def test_the_command_loads_no_part_of_a_node_before_it_is_one() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, provider_log.cli; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "provider_log.cli.client_commands" in loaded
    assert [name for name in HEAVY if name in loaded] == []
