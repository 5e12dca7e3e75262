"""Does every error cross HTTP and come back as the class it was?"""

import pytest

from engine.errors import EngineError, LeaseLost, ProviderError, Unreachable
from provider_log.server.problems import OF_A_PROVIDER, PLAIN, Problem, error_of, problem_of

CROSSING: dict[str, type[EngineError]] = {**PLAIN, **OF_A_PROVIDER}


@pytest.mark.parametrize("name", sorted(CROSSING))
def test_an_error_comes_back_as_its_own_class_with_its_own_words(name: str) -> None:
    kind = CROSSING[name]
    words = ("resume_instance", "expected x, but y") if issubclass(kind, ProviderError) else ("expected x, but y",)
    error = kind(*words)
    back = error_of(problem_of(error))
    assert type(back) is kind
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_the_detail_says_both_halves_without_the_operation() -> None:
    assert problem_of(OF_A_PROVIDER["Refused"]("resume_instance", "expected x, but y")) == Problem(
        type="Refused", title="Conflict", status=409, detail="expected x, but y", operation="resume_instance"
    )


def test_the_nearest_class_decides_the_status() -> None:
    statuses = {
        name: problem_of(error_of(Problem(type=name, title="", status=0, detail=""))).status for name in CROSSING
    }
    assert statuses == {
        "ConversionError": 400,
        "EngineError": 500,
        "Fatal": 500,
        "HistoryCorrupted": 500,
        "InDoubt": 503,
        "InstanceExists": 409,
        "InstanceNotFound": 404,
        "LeaseLost": 409,
        "NotRegistered": 400,
        "OwnershipLost": 503,
        "Refused": 409,
        "Retryable": 503,
        "StateCorrupted": 500,
        "UsageError": 400,
    }


def test_an_error_of_a_newer_node_is_told_in_its_words() -> None:
    back = error_of(Problem(type="QuotaPassed", title="", status=429, detail="expected less, but it was more"))
    assert isinstance(back, Unreachable)
    assert "QuotaPassed: expected less, but it was more" in str(back)


def test_an_error_no_caller_knows_crosses_as_the_nearest_it_is_a_kind_of() -> None:
    class LeaseStolen(LeaseLost):
        pass

    problem = problem_of(LeaseStolen("ack_work_item", "expected x, but y"))
    assert (problem.type, problem.status) == ("LeaseLost", 409)
