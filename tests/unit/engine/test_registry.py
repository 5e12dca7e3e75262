"""Are functions found under their names and versions, with the types they were written with?"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Protocol

import pytest

from engine import ActivityContext, NotRegistered, OrchestrationContext, Registry, UsageError, activity, orchestration
from engine.registry import activity_definition, orchestration_definition
from engine.testing import run
from tests.upstream import upstream


@activity
async def greet(name: str) -> str:
    return name


@activity(name="shop.length")
def length(ctx: ActivityContext, text: str) -> int:
    return len(text)


@activity
def nothing() -> None:
    return None


@orchestration
async def ship(ctx: OrchestrationContext, order: dict[str, int]) -> list[str]:
    return []


@orchestration(name="ship", version="1.10.0")
async def ship_new(ctx: OrchestrationContext) -> None:
    return None


@orchestration(name="ship", version="1.9")
async def ship_old(ctx: OrchestrationContext) -> None:
    return None


def test_decorators_return_the_very_function() -> None:
    def plain(text: str) -> str:
        return text

    assert activity(plain) is plain
    assert activity(name="x")(plain) is plain


@upstream("registry_tests", "test_activity_register_typed", "test_register_versioned_typed")
def test_definitions_know_how_to_call_and_what_types_there_are() -> None:
    for function, wants, asynchronous, input_type, output_type in [
        (greet, False, True, str, str),
        (length, True, False, str, int),
    ]:
        definition = activity_definition(function)
        assert (definition.takes_context, definition.is_async) == (wants, asynchronous)
        assert (definition.input_type, definition.output_type) == (input_type, output_type)
    assert activity_definition(nothing).takes_input is False
    assert activity_definition(nothing).output_type is None
    assert orchestration_definition(ship).input_type == dict[str, int]
    assert orchestration_definition(ship_new).takes_input is False


def test_a_function_without_annotations_takes_and_returns_anything() -> None:
    untyped: Callable[[Any], Any] = lambda value: value  # noqa: E731  # a function without any annotation
    definition = activity_definition(activity(untyped))
    assert (definition.name, definition.input_type, definition.output_type) == ("<lambda>", Any, Any)


@upstream("versioning_tests", "register_multiple_versions_latest_is_highest")
@upstream("versioning_tests", "non_monotonic_registration_panics", differs="Versions may be registered in any order.")
@upstream("versioning_tests", "register_default_is_1_0_0_and_list_versions")
@upstream(
    "registry_tests",
    "test_orchestration_registry_list_names",
    "test_orchestration_registry_has_and_count",
    "test_orchestration_registry_list_versions",
    "test_list_versions_ordering",
    "test_resolve_version_exact",
    "test_resolve_version_latest",
)
def test_the_latest_version_is_by_number_and_a_pin_is_exact() -> None:
    registry = Registry(orchestrations=[ship, ship_new, ship_old])
    assert registry.orchestration("ship").version == "1.10.0"
    assert registry.orchestration("ship", "1.9").function is ship_old
    assert [definition.version for definition in registry.orchestrations()] == ["1.0.0", "1.9", "1.10.0"]


@upstream(
    "registry_tests",
    "test_activity_registry_list_names",
    "test_activity_registry_has",
    "test_activity_registry_count",
)
def test_activities_are_found_by_name() -> None:
    registry = Registry(activities=[greet, length])
    assert registry.activity("shop.length").function is length
    assert [definition.name for definition in registry.activities()] == ["greet", "shop.length"]


@upstream(
    "versioning_tests",
    "resolve_handler_exact_missing_returns_none",
    differs="What is not registered is an error that says what is.",
)
@upstream(
    "registry_tests",
    "test_empty_registry_resolution",
    "test_registry_default",
    differs="What is not registered is an error that says what is.",
)
def test_what_is_not_there_is_said_with_what_is() -> None:
    registry = Registry(orchestrations=[ship], activities=[greet])
    with pytest.raises(NotRegistered, match="expected orchestration 'shop' to be registered, but only these are: ship"):
        registry.orchestration("shop")
    with pytest.raises(NotRegistered, match=r"expected version 2.0.0 of orchestration 'ship', but only .*: 1.0.0"):
        registry.orchestration("ship", "2.0.0")
    with pytest.raises(NotRegistered, match="expected activity 'x' to be registered, but only these are: greet"):
        registry.activity("x")
    with pytest.raises(NotRegistered, match="but none is"):
        Registry().activity("x")


@upstream("versioning_tests", "duplicate_default_version_returns_error", "duplicate_specific_version_returns_error")
@upstream("registry_tests", "test_activity_registry_builder_detects_duplicates")
def test_two_functions_of_one_name_are_refused() -> None:
    other = activity(name="greet")(lambda: None)
    with pytest.raises(UsageError, match="expected one function for activity greet, but there are two"):
        Registry(activities=[greet, other])
    with pytest.raises(UsageError, match=r"expected one function for orchestration ship 1.0.0, but there are two"):
        Registry(orchestrations=[ship, ship])


def test_functions_without_the_decorator_are_refused() -> None:
    def plain() -> None:
        return None

    with pytest.raises(UsageError, match="expected a function decorated with @activity"):
        Registry(activities=[plain])
    with pytest.raises(UsageError, match="expected a function decorated with @orchestration"):
        Registry(orchestrations=[greet])


def test_functions_that_cannot_be_called_with_one_input_are_refused() -> None:
    def two(a: int, b: int) -> None:
        return None

    def synchronous(ctx: OrchestrationContext) -> None:
        return None

    async def alone() -> None:
        return None

    with pytest.raises(UsageError, match=r"two to take at most .* one input by position, but it takes .*; put several"):
        activity(two)
    with pytest.raises(UsageError, match="to be an async def"):
        orchestration(synchronous)
    with pytest.raises(UsageError, match="to take an OrchestrationContext first, but it takes nothing"):
        orchestration(alone)


def test_an_orchestration_whose_first_parameter_is_no_context_is_refused() -> None:
    async def forgotten(order: int) -> None:
        return None

    async def turned(order: dict[str, int], ctx: OrchestrationContext) -> None:
        return None

    async def of_an_activity(ctx: ActivityContext) -> None:
        return None

    async def in_words(order: "int") -> None:
        return None

    for wrong, shown in [
        (forgotten, "order: int"),
        (turned, "order: dict[str, int]"),
        (of_an_activity, "ctx: engine.activity_context.ActivityContext"),
        (in_words, "order: 'int'"),
    ]:
        with pytest.raises(UsageError, match="to take an OrchestrationContext first, but first it takes ") as refused:
            orchestration(wrong)
        assert str(refused.value).endswith(f"takes `{shown}`")


class Later:
    """Known when a registry is made, and written here as text that the decorator cannot look up."""


def test_a_first_parameter_that_is_no_context_is_found_at_the_start_at_the_latest() -> None:
    async def strange(ctx: "Later | None") -> None:
        return None

    orchestration(strange)
    with pytest.raises(UsageError, match="strange to take an OrchestrationContext first, but first it takes `ctx: 'La"):
        Registry(orchestrations=[strange])


class Timers(Protocol):
    def utc_now(self) -> object: ...


class Ours(OrchestrationContext):
    pass


@pytest.mark.parametrize(
    "annotation",
    [
        inspect.Parameter.empty,
        Any,
        object,
        Ours,
        Timers,
        OrchestrationContext | None,
        Annotated[OrchestrationContext, "ours"],
        "OrchestrationContext",
        "OrchestrationContext | None",
        "Annotated[OrchestrationContext, 5]",
    ],
)
def test_a_context_may_be_annotated_as_what_it_is_or_not_at_all(annotation: object) -> None:
    async def works(ctx: object, order: int) -> None:
        return None

    if annotation is inspect.Parameter.empty:
        del works.__annotations__["ctx"]
    else:
        works.__annotations__["ctx"] = annotation
    assert Registry(orchestrations=[orchestration(works)]).orchestration("works").input_type is int


def test_a_context_without_an_annotation_is_told_to_have_one() -> None:
    async def alone(ctx) -> None:  # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]  # the case
        return None

    def beside(context, name: str) -> None:  # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]  # the case
        return None

    with pytest.raises(
        UsageError, match="context of activity alone to be annotated, `ctx: ActivityContext`, but it is"
    ):
        activity(alone)  # pyright: ignore[reportUnknownArgumentType]  # the case
    with pytest.raises(UsageError, match="`context: ActivityContext`, but it is not; without that it would be the in"):
        activity(beside)  # pyright: ignore[reportUnknownArgumentType]  # the case


def test_a_context_may_be_annotated_by_a_name_that_is_imported_for_types_alone() -> None:
    def work(ctx: object, name: str) -> None:
        return None

    work.__annotations__["ctx"] = "engine.ActivityContext"
    assert activity_definition(activity(work)).takes_context


def test_an_input_by_keyword_alone_is_refused() -> None:
    def work(*, name: str) -> None:
        return None

    with pytest.raises(UsageError, match="one input by position, but it takes name"):
        activity(work)


@orchestration
async def wants_a_word(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_activity("word", 5, output=str)


def test_a_built_in_without_a_signature_is_told_to_be_wrapped() -> None:
    with pytest.raises(UsageError, match=r"parameters can be read, but those of <class 'str'> cannot; wrap it in one"):
        run(wants_a_word, activities={"word": str})


@pytest.mark.parametrize("wrong", ["greet", 5])
def test_a_decorator_that_is_given_something_else_than_a_function_says_so(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"expected a decorator without arguments or with name=…, but it was given"):
        activity(wrong)  # pyright: ignore[reportArgumentType]  # the case


@pytest.mark.parametrize("version", ["", "v1", "1.", "1.0-beta"])
def test_a_version_is_numbers_and_dots(version: str) -> None:
    async def code(ctx: OrchestrationContext) -> None:
        return None

    with pytest.raises(UsageError, match=r"expected a version like '1.0.0'"):
        orchestration(version=version)(code)


def test_annotations_that_name_nothing_stop_the_start_and_not_a_turn() -> None:
    def strange(value: object) -> None:
        return None

    strange.__annotations__["value"] = "Missing"
    activity(strange)
    with pytest.raises(UsageError, match=r"expected the annotations of .*strange to name types of its module"):
        Registry(activities=[strange])
