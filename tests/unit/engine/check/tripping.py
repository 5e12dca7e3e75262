"""What trips each rule? `#: TL101` marks a line of which that is said.

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
    f = list(map(time.clock_gettime, [a, b, c, d, e]))  #: TL101
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
    mixed = {1}
    mixed.update(await ctx.activity("words"))
    pairs = {("a", 1)}
    again = {ctx.instance}
    again = {*again}

    def one_by_one():
        yield from again  #: TL301

    c = [*mixed, *pairs], list(one_by_one()), list(late := {"x"})  #: TL301 TL301 TL301
    return [a, b, c, first, second, late, words.pop()]  #: TL301
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
squares = (number * number for number in range(9))

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
    return next(numbers), next(squares)  #: TL303 TL303
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
    try:
        await ctx.wait_event("a")
    except BaseException as error:  #: TL401
        ctx.set_custom_status(f"{error} or {error.args}")
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
    "TL403": """
@activity
async def charge(card):
    return card

@activity
def note(text: str) -> None:
    print(text)

def books(card):
    note("booked")  #: TL403
    return card

@orchestration
async def o(ctx, card):
    receipt = await charge(card)  #: TL403
    charge(card)  #: TL403
    late = charge(card)  #: TL403
    return [receipt, books(card)]
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
