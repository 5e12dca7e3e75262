"""How does `/metrics` read? What an engine counts, in the text format of Prometheus.

`python -m provider_log.server.exposition > docs/metrics.md` makes the page that says what each number is.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import get_args, get_type_hints

from msgspec import Meta, structs

from engine.metrics import DURATION_BOUNDS_MS, ActivityMetrics, Metrics, OrchestrationMetrics
from engine.observe import Counters

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "turnlog_"
OF_ORCHESTRATIONS = ("started", "completed", "failed", "cancelled", "continued_as_new")
OF_ACTIVITIES = ("completed", "failed")

_COUNTERS = frozenset(field.name for field in structs.fields(Counters))
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


DOCUMENT = """\
# Metrics

`GET /metrics` of a node answers in the text format that Prometheus and OpenTelemetry collectors read; in a process,
`await engine.metrics()` is the same as one value. Each node tells of its own engine and of the partitions it has: sum
over nodes. Counters begin at 0 with the process and only ever grow. Where a provider cannot count what waits, those
gauges are left out, and None in the value. Gauges that need a look at every instance are as old as
`EngineOptions.gauge_age_ms_max` lets them be.

The page is made: `python -m provider_log.server.exposition > docs/metrics.md`.

| counter | of |
|---|---|
{counters}

| gauge | of |
|---|---|
{gauges}

By name, for what is registered in the engine; any other name counts in the sums alone:

| metric | labels | of |
|---|---|---|
{families}

A failed instance counts in `turnlog_orchestrations_failed_total` and by who has to act: `…_application` and `…_limit`
are for the author, `…_nondeterminism` for whoever deployed (by default such an instance is held instead), `poisoned`
and `…_infrastructure` for the operator. Worth an alarm: anything poisoned, `turnlog_instances_held` above 0, and
`turnlog_messages_waiting` or `turnlog_work_items_waiting` that only grow.
"""

OUTCOMES = f"{PREFIX}orchestration_outcomes_total"
ENDINGS = f"{PREFIX}activity_outcomes_total"
DURATIONS = f"{PREFIX}activity_duration_seconds"
FAMILIES = {
    OUTCOMES: (("orchestration", "version", "outcome"), "what became of each registered version of an orchestration"),
    ENDINGS: (("activity", "outcome"), "what became of each registered activity"),
    DURATIONS: (("activity", "le"), "how long activities took that completed or failed"),
}
"""The labels of each metric that has some, and what it says."""


def document() -> str:
    """The page docs/metrics.md."""
    counters = [f"| `{name}` | {said} |" for name, said in helps().items() if name.endswith("_total")]
    gauges = [f"| `{name}` | {said} |" for name, said in helps().items() if not name.endswith("_total")]
    families = [
        f"| `{name}` | {', '.join(f'`{label}`' for label in labels)} | {said} |"
        for name, (labels, said) in FAMILIES.items()
    ]
    return DOCUMENT.format(
        counters="\n".join(sorted(counters)), gauges="\n".join(sorted(gauges)), families="\n".join(families)
    )


def helps() -> dict[str, str]:
    """What each counter and gauge says, by its name here."""
    said: dict[str, str] = {}
    for name, hint in get_type_hints(Metrics, include_extras=True).items():
        meta = next((each for each in get_args(hint) if isinstance(each, Meta)), None)
        if meta is not None and meta.description is not None:
            said[name_of(name)] = meta.description
    return said


def name_of(field: str) -> str:
    """What a counter or gauge is called on the page."""
    return f"{PREFIX}{field}_total" if field in _COUNTERS else f"{PREFIX}{field}"


def page(metrics: Metrics) -> str:
    """All of it. A gauge that the provider did not tell is left out."""
    return "\n".join(
        [*_numbers(metrics), *_orchestrations(metrics.orchestrations), *_activities(metrics.activities), ""]
    )


def _numbers(metrics: Metrics) -> Iterator[str]:
    said = helps()
    for field in metrics.__struct_fields__:
        name, value = name_of(field), getattr(metrics, field)
        if name in said and value is not None:
            yield from _head(name, "counter" if field in _COUNTERS else "gauge", said[name])
            yield f"{name} {value}"


def _orchestrations(orchestrations: Sequence[OrchestrationMetrics]) -> Iterator[str]:
    yield from _head(OUTCOMES, "counter", FAMILIES[OUTCOMES][1])
    for each in orchestrations:
        for outcome in OF_ORCHESTRATIONS:
            labels = _labels(orchestration=each.name, version=each.version, outcome=outcome)
            yield f"{OUTCOMES}{labels} {getattr(each, outcome)}"


def _activities(activities: Sequence[ActivityMetrics]) -> Iterator[str]:
    yield from _head(ENDINGS, "counter", FAMILIES[ENDINGS][1])
    for each in activities:
        for outcome in OF_ACTIVITIES:
            yield f"{ENDINGS}{_labels(activity=each.name, outcome=outcome)} {getattr(each, outcome)}"
    yield from _head(DURATIONS, "histogram", FAMILIES[DURATIONS][1])
    for each in activities:
        count = each.completed + each.failed
        for bound_ms, within in zip(DURATION_BOUNDS_MS, each.within, strict=True):
            yield f"{DURATIONS}_bucket{_labels(activity=each.name, le=f'{bound_ms / 1000:g}')} {within}"
        yield f"{DURATIONS}_bucket{_labels(activity=each.name, le='+Inf')} {count}"
        yield f"{DURATIONS}_sum{_labels(activity=each.name)} {each.took_ms / 1000:g}"
        yield f"{DURATIONS}_count{_labels(activity=each.name)} {count}"


def _head(name: str, kind: str, said: str) -> Iterator[str]:
    yield f"# HELP {name} {said}"
    yield f"# TYPE {name} {kind}"


def _labels(**labels: str) -> str:
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels.items()) + "}"


if __name__ == "__main__":
    sys.stdout.write(document())
