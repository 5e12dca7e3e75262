"""What comes near each rule and does not trip it? The texts are as in `tripping`."""

PASSES: dict[str, str] = {
    "TL101": """
import datetime
import time as time_module
from dataclasses import dataclass

@dataclass
class Clock:
    def time(self) -> int:
        return 1

def at_import() -> float:
    return time.time()

BEGAN = at_import()

@activity
def measure() -> float:
    return time.time()

@orchestration
async def o(ctx, time: Clock):
    await ctx.schedule_activity(measure)
    due: datetime.datetime = datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(1)
    shown = [time_module.gmtime(1), time_module.localtime(1), time_module.ctime(1)]
    return [shown, time.time(), ctx.utc_now(), due, datetime.datetime(2026, 1, 1), asyncio.get_running_loop().time()]
""",
    "TL102": """
from asyncio import sleep

@activity
def slow():
    time.sleep(1)

@orchestration
async def o(ctx):
    await sleep(1)
    await anyio.sleep(1)
    await ctx.activity(slow)
""",
    "TL103": """
@orchestration
async def o(ctx, random_id: uuid.UUID):
    dice = random.Random(ctx.new_guid().int)
    seeded = random.Random(7), random.Random(*[7])
    return [dice.choice("ab"), dice.random(), seeded, uuid.UUID(int=1), uuid.uuid5(random_id, "a"), ctx.new_guid()]
""",
    "TL104": """
import io
from zoneinfo import ZoneInfo

ROME = ZoneInfo("Europe/Rome")

class Door:
    def open(self): ...
    def read_text(self): ...

@orchestration
async def o(ctx, door: Door, path):
    door.open()
    name = Path("a") / "b"
    both = [door.read_text(), path.open()]
    return [name.suffix, name.parent.name, os.path.join("a", "b"), io.StringIO("a").read(), both]
""",
    "TL105": """
import socket
import httpx

@orchestration
async def o(ctx):
    try:
        return await ctx.activity("fetch")
    except httpx.HTTPError:
        return [socket.AF_INET, httpx.URL("http://example.com").host]
""",
    "TL106": """
import subprocess

@orchestration
async def o(ctx):
    try:
        return await ctx.activity("run")
    except subprocess.CalledProcessError:
        return os.sep
""",
    "TL107": """
import sys

HOME = os.environ.get("HOME", "")

@orchestration
async def o(ctx, environ: dict[str, str]):
    return [environ["HOME"], HOME, sys.maxsize, os.linesep]
""",
    "TL108": """
import threading

LOCK = threading.Lock()

class Pool:
    def run_in_executor(self, *args): ...

@activity
def locked():
    with LOCK:
        threading.Thread(target=int).start()

@orchestration
async def o(ctx):
    Pool().run_in_executor(1)
    await ctx.activity(locked)
    async with asyncio.Lock():
        return 1
""",
    "TL201": """
@orchestration
async def o(ctx):
    tasks = [asyncio.create_task(asyncio.sleep(n)) for n in range(3)]
    for each in asyncio.as_completed(tasks):
        await each
    for each in asyncio.as_completed([ctx.schedule_activity("a", n) for n in range(3)]):
        await each
    async for each in ctx.as_completed(ctx.activity("a"), asyncio.sleep(1)):
        await each
""",
    "TL202": """
@orchestration
async def o(ctx):
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(1, future.set_result, 1)
    loop.call_soon(print)
    asyncio.create_task(asyncio.sleep(1), name="a")
    return await future
""",
    "TL203": """
@orchestration
async def o(ctx):
    task = asyncio.create_task(asyncio.sleep(1))
    await asyncio.wait_for(task, 1)
    await asyncio.wait_for(ctx.schedule_activity("a"), 1)
    await asyncio.wait_for(ctx.wait_event("a"), 1)
    await asyncio.wait_for(asyncio.gather(ctx.activity("a")), 1)
    async with asyncio.timeout(1):
        await asyncio.sleep(2)
""",
    "TL204": """
@orchestration
async def o(ctx):
    a = asyncio.create_task(asyncio.sleep(1))
    done, pending = await asyncio.wait({a, ctx.schedule_timer(1)}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(asyncio.gather(ctx.activity("a")), ctx.activity("b"))
    return [task.result() for task in done], len(pending)
""",
    "TL301": """
KNOWN = {"a", "b"}

@orchestration
async def o(ctx, words: set[str], numbers: set[int], names: list[str], ids: list[int]):
    for word in sorted(words):
        await ctx.activity("a", word)
    for number in numbers | {1, 2} | set(range(3)):
        await ctx.activity("a", number)
    under_way = set()
    for name in dict.fromkeys(names):
        task = asyncio.create_task(ctx.activity("a", name))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    tasks = {asyncio.create_task(asyncio.sleep(n)) for n in (1, 2)}
    for task in tasks:
        task.cancel()
    counted = {-1, 2 + 3}
    counted.update([4, 5], {len(names)})
    pairs: set[tuple[int, int]] = set()
    keys: set[tuple[uuid.UUID, int]] = ctx.keys()
    came = [number for _, number in keys]
    for each in set(ids):
        came.append(each)
    if len(list(filter(None, words))) > 1 or not any(list(words)):
        words.update(word.lower() for word in list(words))
    pairs = {(1, 2), (len(names), 4)}
    waiting: set[asyncio.Task[None]] = set()
    if found := {1, 2}:
        await asyncio.gather(*waiting, *[ctx.activity("a", each) for each in [*counted, *pairs, *found]])
    both = {word.upper() for word in words} & KNOWN
    if "a" in both or len(both) > 1 or any(word == "b" for word in both):
        return sorted([word for word in both]), max(*both), sum(len(word) for word in both)
    return sorted(list(both), key=str)
""",
    "TL302": """
def hash(text: str) -> int:
    return len(text)

@orchestration
async def o(ctx, id: int):
    return [hash("a"), id, ctx.instance]
""",
    "TL303": """
HANDLERS = {}
LIMITS = {"a": 1}

def handler(function):
    HANDLERS[function.__name__] = function
    return function

@handler
def double(number):
    return 2 * number

@orchestration
async def o(ctx, name):
    cache = dict(LIMITS)
    cache[name] = HANDLERS["double"](2)
    calls = [name]
    calls.append(name)

    def count():
        nonlocal name
        name = name + "!"

    count()
    return [cache, calls, name]
""",
    "TL304": """
import logging

log = logging.getLogger("shop")
CHAPTERS = {"one": 1}
CHAPTERS["two"] = 2

def set_up_logging():
    log.propagate = False
TABLE = {}

def fill(key):
    TABLE[key] = key

fill("a")
served = {}

@activity
def serve(name):
    served[name] = served.get(name, 0) + 1

@orchestration
async def o(ctx):
    served = [await ctx.activity(serve, name) for name in CHAPTERS]
    log.info("served")
    return [served, CHAPTERS["one"], TABLE["a"]]
""",
    "TL401": """
async def tick(ctx):
    try:
        await ctx.wait_event("a")
    except asyncio.CancelledError:
        pass

@orchestration
async def ends_a_task(ctx):
    async def tock():
        with contextlib.suppress(asyncio.CancelledError):
            await ctx.wait_event("a")

    await ctx.select(tick(ctx), tock(), ctx.schedule_timer(1))

@orchestration
async def o(ctx):
    task = asyncio.create_task(asyncio.sleep(1))
    try:
        await ctx.wait_event("a")
    except BaseException:
        ctx.set_custom_status("undoing")
        raise
    try:
        await ctx.wait_event("a")
    except (Exception, asyncio.CancelledError):
        await ctx.activity("undo")
    try:
        await ctx.wait_event("a")
    except asyncio.CancelledError:
        return "the user went away"
    except:
        raise RuntimeError("none of ours") from None
    try:
        int("1")
    except BaseException:
        pass
    failed = []
    try:
        await ctx.wait_event("a")
    except BaseException as error:
        failed.append(error)
    try:
        await ctx.wait_event("a")
    except BaseException as error:
        last = error
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    with contextlib.suppress(asyncio.CancelledError):
        await task
    with contextlib.suppress(ValueError):
        await task
    return [failed, last]
""",
    "TL402": """
async def one():
    await asyncio.sleep(1)

def two():
    return one()

@contextlib.asynccontextmanager
async def three():
    yield 3

async def four():
    yield 4

@orchestration
async def o(ctx):
    await one()
    await two()
    later = one()
    asyncio.create_task(one())
    ctx.schedule_activity("a")
    ctx.schedule_sub_orchestration("b")
    ctx.start_detached("c")
    ctx.set_custom_status("d")
    async with three(), asyncio.TaskGroup() as group:
        group.create_task(one())
        group.create_task(later)
    last = ctx.activity("e")
    if await ctx.wait_event("again"):
        ctx.continue_as_new(1)
    return [await last, [each async for each in four()]]
""",
    "TL403": """
from functools import partial

@activity
async def charge(card):
    return await fee(card)

async def fee(card):
    return card

@activity
async def both(card):
    return await charge(card)

@orchestration
async def other(ctx, card):
    return await ctx.schedule_activity(both, card)

@orchestration
async def o(ctx, card):
    asks = partial(ctx.schedule_activity, charge)
    return [await asks(card), await other(ctx, card), await fee(card)]
""",
    "TL901": """
@orchestration
async def o(ctx):
    return time.time()  # turnlog: ignore[TL101] the audit wants the time of the host
""",
    "TL902": """
def elsewhere():
    return 1  # turnlog: ignore[TL101] who calls it from another module may have a finding here

@orchestration
async def o(ctx):
    # turnlog: ignore[TL101, TL103] both on one line
    return time.time(), random.random()
""",
    "TL903": '''
@orchestration
async def o(ctx):
    """Say `# turnlog: ignore` in prose."""
    return 1  # turnlog: ignored by nobody
''',
}
