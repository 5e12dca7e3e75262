"""What does a type checker know about an orchestration? Every line marked `error:` must be one, and no other may be."""

from datetime import timedelta

from engine import ActivityContext, DurableFuture, OrchestrationContext, RetryPolicy, activity, orchestration


@activity
async def greet(name: str) -> str:
    return f"hello {name}"


@activity
def length(text: str) -> int:
    return len(text)


@activity
async def roll() -> int:
    return 4


@activity
def stamp(ctx: ActivityContext, text: str) -> bytes:
    return f"{ctx.instance}{text}".encode()


@activity
async def attempt(ctx: ActivityContext) -> int:
    ctx.heartbeat()
    ctx.heartbeat({"at": 1})
    at: int | None = ctx.heartbeat_details(int)
    left: object = ctx.heartbeat_details()
    return ctx.attempt + len(f"{at}{left}")


@activity
async def wrong_attempt(ctx: ActivityContext) -> int:
    a: int = ctx.heartbeat_details(int)  # error: there may be none
    b: str | None = ctx.heartbeat_details(int)  # error: it was said to be an int
    ctx.heartbeat(1, 2)  # error: one value
    return ctx.heartbeat_details() if a or b else 0  # error: an object


@orchestration
async def child(ctx: OrchestrationContext, number: int) -> str:
    return await ctx.schedule_activity(greet, str(number))


@orchestration
async def childless(ctx: OrchestrationContext) -> float:
    return float(await ctx.schedule_activity(roll))


@orchestration(name="main", version="2.0.0")
async def infers(ctx: OrchestrationContext) -> str:
    a: str = await ctx.schedule_activity(greet, "x")
    b: int = await ctx.schedule_activity(length, "x")
    c: int = await ctx.schedule_activity(roll)
    d: bytes = await ctx.schedule_activity(stamp, "x", tag="gpu")
    e: int = await ctx.schedule_activity(attempt, retry=RetryPolicy(attempts=2), timeout=timedelta(seconds=1))
    limited: str = await ctx.schedule_activity(
        greet, "x", queue_timeout=timedelta(1), run_timeout=timedelta(1), heartbeat_timeout=timedelta(1)
    )
    f: list[int] = await ctx.schedule_activity("named", 1, output=list[int])
    g: str = await ctx.activity(greet, "x")
    h: str = await ctx.schedule_sub_orchestration(child, 1, instance="one")
    i: float = await ctx.schedule_sub_orchestration(childless)
    o: str = await ctx.sub_orchestration(child, 1, retry=RetryPolicy(attempts=2), deadline=timedelta(hours=1))
    kept_on: str = await ctx.sub_orchestration(child, 1, on_parent_end="abandon")
    j: tuple[str, int] = await ctx.join(ctx.schedule_activity(greet, "x"), ctx.schedule_activity(length, "x"))
    of_three: tuple[str, int, None] = await ctx.join(
        ctx.schedule_activity(greet, "x"), ctx.schedule_activity(length, "x"), ctx.schedule_timer(timedelta(seconds=1))
    )
    of_many: tuple[str, ...] = await ctx.join(*(ctx.schedule_activity(greet, name) for name in "abcde"))
    won = await ctx.select(ctx.schedule_activity(greet, "x"), ctx.schedule_timer(timedelta(seconds=1)))
    first = await ctx.select(
        ctx.schedule_activity(greet, "x"), ctx.schedule_activity(length, "x"), ctx.schedule_timer(timedelta(seconds=1))
    )
    p: str | int | None = first.value
    k: str | None = won.value
    m: int = await ctx.wait_event("n", int)
    n: DurableFuture[str] = ctx.dequeue("q", str)
    if b > c:
        return ctx.continue_as_new()
    return f"{a}{d}{e}{f}{g}{h}{i}{j}{k}{m}{n}{o}{p}{kept_on}{of_three}{of_many}{limited}"


@orchestration
async def wrong(ctx: OrchestrationContext, number: int) -> int:
    a: int = await ctx.schedule_activity(greet, "x")  # error: the activity returns str
    b: str = await ctx.schedule_activity(length, "x")  # error: the activity returns int
    await ctx.schedule_activity(greet, 1)  # error: the activity takes str
    await ctx.schedule_activity(stamp, 1)  # error: the activity takes str, after its context
    await ctx.schedule_activity(greet)  # error: the activity takes an input
    await ctx.schedule_activity(roll, 1)  # error: the activity takes none
    await ctx.schedule_activity(greet, "x", retries=3)  # error: there is no such option
    await ctx.schedule_activity(greet, "x", timeout=5)  # error: durations are timedeltas
    await ctx.schedule_activity(greet, "x", run_timeout=5)  # error: durations are timedeltas
    await ctx.schedule_sub_orchestration(child, 1, queue_timeout=timedelta(1))  # error: of activities
    c: str = await ctx.schedule_activity("named", 1, output=int)  # error: it was said to return int
    d: int = await ctx.schedule_sub_orchestration(child, 1)  # error: the child returns str
    await ctx.schedule_sub_orchestration(child, "1")  # error: the child takes int
    await ctx.sub_orchestration(child, "1")  # error: the child takes int
    await ctx.schedule_sub_orchestration(child, 1, tag="gpu")  # error: tags are of activities
    await ctx.schedule_sub_orchestration(childless, 1)  # error: the child takes none
    await ctx.schedule_sub_orchestration(child, 1, on_parent_end="kill")  # error: there is no such choice
    ctx.start_detached(child, 1)  # error: a detached start has an id
    e: int = await ctx.wait_event("n", str)  # error: the event is a str
    f: tuple[int, str] = await ctx.join(  # error: results are in the order of the arguments
        ctx.schedule_activity(greet, "x"), ctx.schedule_activity(length, "x")
    )
    ctx.schedule_activity(greet, "x") + "y"  # error: a future is no str: an await is missing
    if (a, b, c, d, e, f) and number:
        return ctx.schedule_activity(length, "x")  # error: a future is no int: an await is missing
    return "done"  # error: it returns int
