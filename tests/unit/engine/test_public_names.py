"""Is what users import there, and is it what it says?"""

import inspect

import engine
from engine import ActivityContext, OrchestrationContext, activity, orchestration


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    undocumented = [name for name in engine.__all__ if not inspect.getdoc(getattr(engine, name))]
    assert undocumented == []


def test_the_names_that_the_design_promises_are_public() -> None:
    promised = {"activity", "orchestration", "OrchestrationContext", "ActivityContext"}
    promised |= {"Registry", "RetryPolicy", "Client", "Engine"}
    promised |= {"InstanceNotFound", "Refused"}  # what a client raises can be caught
    assert promised <= set(engine.__all__)


def test_the_decorators_leave_functions_as_they_are() -> None:
    async def greet(ctx: ActivityContext, name: str) -> str:
        return name

    async def greet_all(ctx: OrchestrationContext) -> None:
        return

    assert activity(greet) is greet
    assert orchestration(greet_all) is greet_all
