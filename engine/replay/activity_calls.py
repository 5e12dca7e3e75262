"""How does an orchestration call activities? By function, whose types the call has, or by name."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, Unpack, overload

from engine.activity_context import ActivityContext
from engine.errors import UsageError
from engine.model.actions import CallActivity
from engine.model.limits import ActivityLimits
from engine.registry import activity_definition
from engine.replay import arguments
from engine.replay.asking import Asking
from engine.replay.call_options import ActivityOptions
from engine.replay.futures import AskedFuture, DurableFuture
from engine.replay.raised import Raises
from engine.replay.retry import Attempts

I = TypeVar("I")  # noqa: E741  # input, beside O for output
O = TypeVar("O")  # noqa: E741  # output, beside I for input


class ActivityCalls(Asking):
    """Activities, as futures and as coroutines."""

    @overload
    def schedule_activity(
        self,
        activity: Callable[[ActivityContext, I], Coroutine[Any, Any, O]],
        input: I,
        /,
        **options: Unpack[ActivityOptions],
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[ActivityContext, I], O], input: I, /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[I], Coroutine[Any, Any, O]], input: I, /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[I], O], input: I, /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[ActivityContext], Coroutine[Any, Any, O]], /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[ActivityContext], O], /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[], Coroutine[Any, Any, O]], /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[], O], /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: str, input: object = None, /, *, output: type[O], **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: str, input: object = None, /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[Any]: ...
    def schedule_activity(
        self,
        activity: Callable[..., Any] | str,
        value: object = None,
        /,
        *,
        output: Any = Any,
        **options: Unpack[ActivityOptions],
    ) -> DurableFuture[Any]:
        """Call an activity, given as its function or by name.

        The future raises ActivityError if it failed for good, TimedOut if it took too long, and ConversionError if
        what it returned is not of the type its function (or `output`) says.

        Raises:
            ConversionError: The input has no payload.
            UsageError: The function is not decorated with `@activity`, or an option is unknown or of the wrong type.
        """
        return self._future_of(self._activity(activity, value, output, options))

    @overload
    async def activity(
        self,
        activity: Callable[[ActivityContext, I], Coroutine[Any, Any, O]],
        input: I,
        /,
        **options: Unpack[ActivityOptions],
    ) -> O: ...
    @overload
    async def activity(
        self, activity: Callable[[ActivityContext, I], O], input: I, /, **options: Unpack[ActivityOptions]
    ) -> O: ...
    @overload
    async def activity(
        self, activity: Callable[[I], Coroutine[Any, Any, O]], input: I, /, **options: Unpack[ActivityOptions]
    ) -> O: ...
    @overload
    async def activity(self, activity: Callable[[I], O], input: I, /, **options: Unpack[ActivityOptions]) -> O: ...
    @overload
    async def activity(
        self, activity: Callable[[ActivityContext], Coroutine[Any, Any, O]], /, **options: Unpack[ActivityOptions]
    ) -> O: ...
    @overload
    async def activity(self, activity: Callable[[ActivityContext], O], /, **options: Unpack[ActivityOptions]) -> O: ...
    @overload
    async def activity(
        self, activity: Callable[[], Coroutine[Any, Any, O]], /, **options: Unpack[ActivityOptions]
    ) -> O: ...
    @overload
    async def activity(self, activity: Callable[[], O], /, **options: Unpack[ActivityOptions]) -> O: ...
    @overload
    async def activity(
        self, activity: str, input: object = None, /, *, output: type[O], **options: Unpack[ActivityOptions]
    ) -> O: ...
    @overload
    async def activity(self, activity: str, input: object = None, /, **options: Unpack[ActivityOptions]) -> Any: ...
    async def activity(
        self,
        activity: Callable[..., Any] | str,
        value: object = None,
        /,
        *,
        output: Any = Any,
        **options: Unpack[ActivityOptions],
    ) -> Any:
        """`schedule_activity` as a coroutine, for `tg.create_task`: asked for when it first runs."""
        attempts = self._activity(activity, value, output, options)
        return await (attempts if isinstance(attempts, DurableFuture) else attempts.run())

    def _activity(
        self, activity: Callable[..., Any] | str, value: object, output: Any, options: ActivityOptions
    ) -> AskedFuture[Any] | Attempts[Any]:
        arguments.options(options, ActivityOptions.__annotations__, "an activity")
        raises: Raises = ()
        if isinstance(activity, str):
            name = arguments.name(activity, "the name of an activity")
        else:
            definition = activity_definition(activity)
            name, output, raises = definition.name, definition.output_type, definition.raises
            if value is not None and not definition.takes_input:
                raise UsageError(f"expected no input for activity {name}, which takes none, but it got {value!r}")
        action = CallActivity(
            name=name,
            input=self._converter.encode(value, f"input of activity {name}"),
            session_id=arguments.name(options["session_id"], "session_id") if "session_id" in options else None,
            tag=arguments.tag(options["tag"]) if "tag" in options else None,
            limits=_limits(options) if options else None,
        )

        return self._tried(f"activity {name}", action, output, options, raises)


def _limits(options: ActivityOptions) -> ActivityLimits | None:
    limits = ActivityLimits(
        queue_timeout_ms=arguments.limit_ms(options.get("queue_timeout"), "queue_timeout"),
        run_timeout_ms=arguments.limit_ms(options.get("run_timeout"), "run_timeout"),
        heartbeat_timeout_ms=arguments.limit_ms(options.get("heartbeat_timeout"), "heartbeat_timeout"),
    )
    return None if limits == NO_LIMITS else limits


NO_LIMITS = ActivityLimits()
