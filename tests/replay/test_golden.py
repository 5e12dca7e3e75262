"""Do histories that an earlier release recorded still replay, on this Python too?"""

import msgspec
import pytest

from engine.model.events import AnyEvent, OrchestrationStarted
from engine.testing import ScenarioFailed, replay
from tests.replay.goldens import DECODER, HERE, RECORDINGS, record


def golden(name: str) -> list[AnyEvent]:
    return DECODER.decode((HERE / f"{name}.json").read_bytes())


def test_there_is_a_file_for_every_recording_and_a_recording_for_every_file() -> None:
    assert {path.stem for path in HERE.glob("*.json")} == set(RECORDINGS)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recorded_history_replays(name: str) -> None:
    replay(RECORDINGS[name].code, golden(name))


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_new_run_takes_the_recorded_path(name: str) -> None:
    def without_python_and_stack(event: AnyEvent) -> object:
        if isinstance(event, OrchestrationStarted):
            return msgspec.structs.replace(event, python="")
        failure = getattr(event, "failure", None)
        return event if failure is None else (type(event), event.event_id, failure.type, failure.message)

    recorded, new = golden(name), record(name)
    assert [without_python_and_stack(event) for event in recorded] == [without_python_and_stack(event) for event in new]


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_code_of_another_recording_does_not_replay_it(name: str) -> None:
    other = "sequence" if name != "sequence" else "races"
    with pytest.raises(ScenarioFailed):
        replay(RECORDINGS[other].code, golden(name))
