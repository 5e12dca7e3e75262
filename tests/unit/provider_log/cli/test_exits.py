"""Does every error end the command with the code that says it?"""

import inspect

import pytest

from engine import errors
from engine.errors import EngineError, OrchestrationFailed, ProviderError
from engine.model.failure import Category, Failure
from provider_log.cli.exits import SAYS, Exit, exit_of
from provider_log.log import port
from provider_log.log.port import LogCorrupted, LogError, LogNotOpened, LogUnavailable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OrchestrationFailed("a", Failure(Category.APPLICATION, "ValueError", "no")), 1),
        (errors.OrchestrationHeld("a", Failure(Category.NONDETERMINISM, "Nondeterminism", "moved")), 1),
        (errors.UsageError(""), 2),
        (errors.NotRegistered(""), 2),
        (errors.ConversionError(""), 2),
        (errors.Refused("resume_instance", ""), 2),
        (errors.InstanceNotFound(""), 3),
        (errors.WaitTimedOut(""), 4),
        (errors.Unreachable(""), 5),
        (errors.Retryable("", ""), 5),
        (errors.OwnershipLost("", ""), 5),
        (errors.Fatal("", ""), 5),
        (errors.HistoryCorrupted(""), 6),
        (errors.StateCorrupted("", ""), 6),
        (LogNotOpened(""), 2),
        (LogUnavailable(""), 5),
        (LogCorrupted(""), 6),
    ],
)
def test_an_error_has_its_code(error: EngineError | LogError, code: int) -> None:
    assert exit_of(error) == code


def test_every_class_of_error_has_a_code() -> None:
    kinds = [*vars(errors).values(), *vars(port).values()]
    for kind in kinds:
        if inspect.isclass(kind) and issubclass(kind, (EngineError, LogError)):
            words = ("", "") if issubclass(kind, ProviderError) else ("",)
            assert exit_of(kind.__new__(kind, *words)) in Exit


def test_every_code_is_explained() -> None:
    assert set(SAYS) == set(Exit)
