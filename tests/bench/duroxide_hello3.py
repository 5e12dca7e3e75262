"""How fast is the `duroxide` package at the same workload? hello3 on its file SQLite provider, the same two phases.

Stands alone: `pip install duroxide`, then `python tests/bench/duroxide_hello3.py`. Prints JSON with the field names
of `turnlog bench`.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import duroxide

POLL_MS = 5
"""Its default of 100 ms would measure its polling; 5 ms is what its fastest published run used."""
CONCURRENCY = 8
WAIT_MS = 300_000


def main(instances: int, in_flight: int, alone: int) -> None:
    """Run both phases and print the figures."""
    with tempfile.TemporaryDirectory() as place:
        provider = duroxide.SqliteProvider.open(f"sqlite:{Path(place) / 'duroxide.db'}?mode=rwc")
        options = duroxide.PyRuntimeOptions(
            dispatcher_poll_interval_ms=POLL_MS,
            orchestration_concurrency=CONCURRENCY,
            worker_concurrency=CONCURRENCY,
            log_level="error",
        )
        runtime = duroxide.Runtime(provider, options)

        @runtime.register_activity("greet")
        def greet(_ctx: object, name: str) -> str:
            return f"hello {name}"

        @runtime.register_orchestration("hello3")
        def hello3(ctx: duroxide.OrchestrationContext, name: str):
            first = yield ctx.schedule_activity("greet", name)
            second = yield ctx.schedule_activity("greet", first)
            return (yield ctx.schedule_activity("greet", second))

        runtime.start()
        client = duroxide.Client(provider)

        def wait(instance: str) -> None:
            result = client.wait_for_orchestration(instance, WAIT_MS)
            assert result.output == "hello hello hello log", f"{instance}: {result.status} {result.output}"

        latencies: list[float] = []
        for number in range(alone):
            begun = time.perf_counter()
            client.start_orchestration(f"alone-{number}", "hello3", "log")
            wait(f"alone-{number}")
            latencies.append((time.perf_counter() - begun) * 1000)

        begun = time.perf_counter()
        for number in range(instances):
            client.start_orchestration(f"many-{number}", "hello3", "log")
            if number >= in_flight:
                wait(f"many-{number - in_flight}")
        for number in range(max(0, instances - in_flight), instances):
            wait(f"many-{number}")
        per_s = instances / (time.perf_counter() - begun)
        runtime.shutdown(1000)

    quantiles = statistics.quantiles(latencies, n=100, method="inclusive")
    figures = {
        "workload": "hello3",
        "log": "duroxide, file SQLite",
        "instances": instances,
        "in_flight": in_flight,
        "orchestrations_per_s": round(per_s, 1),
        "p50_ms": round(quantiles[49], 2),
        "p99_ms": round(quantiles[98], 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4] or ("500", "100", "50")))
