"""What do the conformance tests need of pytest? Their mark, their names, and failures that show both sides."""

import pytest

pytest.register_assert_rewrite("engine.testing.conformance")  # before anything imports it


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "conformance: one test of the provider conformance suite on one provider")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of the suite on every provider: `test_provider[memory-atomicity-test_concurrent_ack_prevention]`."""
    from engine.testing.conformance import GROUPS
    from tests.conformance.factories import FACTORIES

    if {"open_factory", "conformance_test"} <= set(metafunc.fixturenames):
        metafunc.parametrize(
            ("open_factory", "conformance_test"),
            [
                pytest.param(open_factory, test, id=f"{provider}-{group}-{test.__name__}")
                for provider, open_factory in FACTORIES.items()
                for group, tests in GROUPS.items()
                for test in tests
            ],
        )
