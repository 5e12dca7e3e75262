"""What trips each rule, and what comes near and does not? `#: TL101` marks a line of which that is said.

Each text is a module; what all of them import is put before it, on the line of its first, empty one.
"""

IMPORTS = (
    "import asyncio, anyio, contextlib, os, random, time, uuid; from engine import activity, orchestration; "
    "from engine import OrchestrationContext; from pathlib import Path"
)

TRIPS: dict[str, str] = {
    "TL101": """
import datetime as dt
from time import monotonic as tick

CLOCK = time.time

@orchestration
async def o(ctx):
    a = time.time()  #: TL101
    b = dt.datetime.now(dt.UTC)  #: TL101
    c = tick()  #: TL101
    d = CLOCK()  #: TL101
    mine = time.monotonic
    e = mine()  #: TL101
    f = list(map(time.localtime, [a, b, c, d, e]))  #: TL101
    return [f, time.strftime("%c"), dt.date.today()]  #: TL101 TL101
""",
    "TL102": """
@orchestration
async def o(ctx):
    time.sleep(1)  #: TL102
""",
    "TL103": """
import secrets
from random import choice
from uuid import uuid4

@orchestration
async def o(ctx):
    a = random.random(), choice("ab"), uuid4(), uuid.uuid1()  #: TL103 TL103 TL103 TL103
    b = random.Random(), random.Random(None)  #: TL103 TL103
    return [a, b, secrets.token_hex(), os.urandom(8)]  #: TL103 TL103
""",
    "TL104": """
import shutil
import tempfile
from zoneinfo import ZoneInfo

@orchestration
async def o(ctx, home: Path):
    with open("a") as file:  #: TL104
        file.read()
    path = Path("a")
    b = path.read_text(), (path / "b").exists(), Path("c").stat(), home.iterdir()  #: TL104 TL104 TL104 TL104
    c = path.with_suffix(".d").read_bytes()  #: TL104
    shutil.rmtree("a")  #: TL104
    os.remove("a")  #: TL104
    with tempfile.TemporaryDirectory() as d:  #: TL104
        return [b, c, os.path.exists(d), ZoneInfo("Europe/Rome")]  #: TL104 TL104
""",
    "TL105": """
import httpx
import socket
import sqlite3
import urllib.request as web

@orchestration
async def o(ctx):
    async with httpx.AsyncClient() as client:  #: TL105
        await client.get("http://example.com")
    await asyncio.open_connection("localhost", 1)  #: TL105
    await anyio.connect_tcp("localhost", 1)  #: TL105
    web.urlopen("http://example.com")  #: TL105
    loop = asyncio.get_running_loop()
    await loop.getaddrinfo("localhost", 1)  #: TL105
    return socket.socket(), sqlite3.connect(":memory:")  #: TL105 TL105
""",
    "TL106": """
import subprocess

@orchestration
async def o(ctx):
    subprocess.run(["true"])  #: TL106
    os.system("true")  #: TL106
    await asyncio.create_subprocess_exec("true")  #: TL106
    await anyio.run_process(["true"])  #: TL106
""",
    "TL107": """
import sys
from os import environ

@orchestration
async def o(ctx):
    a = os.environ["HOME"], environ.get("HOME"), os.getenv("HOME")  #: TL107 TL107 TL107
    return [a, sys.argv[1:], os.getpid(), input()]  #: TL107 TL107 TL107
""",
    "TL108": """
import threading
import anyio.to_thread
from concurrent.futures import ThreadPoolExecutor

@orchestration
async def o(ctx):
    await asyncio.to_thread(int)  #: TL108
    await anyio.to_thread.run_sync(int)  #: TL108
    await asyncio.get_running_loop().run_in_executor(None, int)  #: TL108
    threading.Thread(target=int).start()  #: TL108
    with ThreadPoolExecutor() as pool:  #: TL108
        return pool
""",
    "TL201": """
async def one(number):
    return number

@orchestration
async def o(ctx):
    for each in asyncio.as_completed([one(1), one(2)]):  #: TL201
        await each
    many = [ctx.activity("a", n) for n in range(3)]
    for each in asyncio.as_completed(many):  #: TL201
        await each
    for each in asyncio.as_completed(asyncio.sleep(n) for n in (1, 2)):  #: TL201
        await each
""",
    "TL202": """
@orchestration
async def o(ctx):
    loop = asyncio.new_event_loop()  #: TL202
    asyncio.run_coroutine_threadsafe(asyncio.sleep(1), loop)  #: TL202
    here = asyncio.get_running_loop()
    here.call_soon_threadsafe(print)  #: TL202
    here.create_task(asyncio.sleep(1), eager_start=True)  #: TL202
    asyncio.run(asyncio.sleep(1))  #: TL202
""",
    "TL203": """
async def one():
    await asyncio.sleep(1)

@orchestration
async def o(ctx):
    happened = asyncio.Event()
    await asyncio.wait_for(one(), 1)  #: TL203
    await asyncio.wait_for(ctx.activity("a"), 1)  #: TL203
    await asyncio.wait_for(happened.wait(), 1)  #: TL203
    later = one()
    return await asyncio.wait_for(later, timeout=2)  #: TL203
""",
    "TL204": """
@orchestration
async def o(ctx):
    await asyncio.wait({asyncio.gather(asyncio.sleep(1))})  #: TL204
    both = [asyncio.gather(ctx.activity("a")), asyncio.gather(ctx.activity("b"))]
    await asyncio.wait(both)  #: TL204
""",
    "TL301": """
NAMES = {"b", "a"}

@orchestration
async def o(ctx, words: set[str], more: "frozenset[str]"):
    for name in NAMES:  #: TL301
        await ctx.activity("a", name)
    await ctx.join(*(ctx.activity("a", word) for word in words))  #: TL301
    seen = set()
    seen.add("x")
    a = list(seen), [*more], ", ".join(words | NAMES), next(iter(words))  #: TL301 TL301 TL301 TL301
    b = [word for word in set(await ctx.activity("words"))]  #: TL301
    first, second = {"a", "b"}  #: TL301
    return [a, b, first, second, words.pop()]  #: TL301
""",
    "TL302": """
@orchestration
async def o(ctx, order):
    return id(order), hash(order)  #: TL302 TL302
""",
    "TL303": """
import itertools

calls = 0
cache = {}
queue: list[str] = []
numbers = itertools.count()

class Shared:
    total = 0

@orchestration
async def o(ctx, name):
    global calls
    calls += 1  #: TL303
    cache[name] = 1  #: TL303
    del cache[name]  #: TL303
    queue.append(name)  #: TL303
    Shared.total += 1  #: TL303
    return next(numbers)  #: TL303
""",
    "TL304": """
rate = 1.0
settings = {}

@activity
def learn(new: float) -> None:
    global rate
    rate = new

def configure(key, value):
    settings[key] = value

@orchestration
async def o(ctx):
    if settings.get("slow"):  #: TL304
        await ctx.schedule_activity(learn, 2.0)
    return rate * 2  #: TL304
""",
    "TL401": """
@orchestration
async def o(ctx):
    try:
        await ctx.wait_event("a")
    except:  #: TL401
        ctx.set_custom_status("no")
    try:
        await ctx.wait_event("a")
    except ValueError:
        pass
    except BaseException as error:  #: TL401
        ctx.logger.info("%s", error)
    while True:
        try:
            await ctx.wait_event("a")
        except asyncio.CancelledError:  #: TL401
            continue
        except ValueError:
            break
    with contextlib.suppress(asyncio.CancelledError):  #: TL401
        await ctx.wait_event("a")
    try:
        await ctx.wait_event("a")
    except (ValueError, anyio.get_cancelled_exc_class()):  #: TL401
        pass
    try:
        await ctx.wait_event("a")
    finally:
        return 1  #: TL401
""",
    "TL402": """
async def one():
    await asyncio.sleep(1)

@orchestration
async def o(ctx):
    ctx.activity("a")  #: TL402
    ctx.join(ctx.wait_event("a"), ctx.wait_event("b"))  #: TL402
    ctx.schedule_timer(1)  #: TL402
    ctx.dequeue("q")  #: TL402
    asyncio.sleep(1)  #: TL402
    one()  #: TL402
    later = ctx.activity("b")  #: TL402
""",
    "TL901": """
@orchestration
async def o(ctx):
    return time.time()  # turnlog: ignore[TL101]  #: TL901
""",
    "TL902": """
@orchestration
async def o(ctx):
    # turnlog: ignore[TL103] it was random once #: TL902
    return ctx.utc_now()
""",
    "TL903": """
@orchestration
async def o(ctx):
    a = 1  # turnlog: ignore  #: TL903
    return time.time()  # turnlog: ignore[TL999] a rule there is not #: TL101 TL903
""",
}

PASSES: dict[str, str] = {
    "TL101": """
import datetime
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
    return [time.time(), ctx.utc_now(), due, datetime.datetime(2026, 1, 1), asyncio.get_running_loop().time()]
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
async def o(ctx, words: set[str], numbers: set[int], names: list[str]):
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
CHAPTERS = {"one": 1}
CHAPTERS["two"] = 2
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
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    with contextlib.suppress(asyncio.CancelledError):
        await task
    with contextlib.suppress(ValueError):
        await task
    return failed
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
