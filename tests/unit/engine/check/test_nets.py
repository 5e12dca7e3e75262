"""Does the text say what the nets say at run time? A name they refuse is a finding, or is in a list with why not."""

import re
from pathlib import Path

import pytest

from engine.check.outside import CALLS, METHODS, READS
from engine.check.rules import RULES
from engine.replay.nets import AUDITED, PROFILED
from engine.replay.refusals import INSTEAD
from tests.unit.engine.check.reading import report

PAGE = (Path(__file__).parents[4] / "docs/determinism.md").read_text(encoding="utf-8")

OF_THE_LOOP = {
    "to_thread": "asyncio.to_thread(int)",
    "as_completed": "asyncio.as_completed([asyncio.sleep(1)])",
    "asyncio.wait over gather": "asyncio.wait([asyncio.gather(asyncio.sleep(1))])",
    "create_task(eager_start=True)": "asyncio.create_task(asyncio.sleep(1), eager_start=True)",
}
"""What the loop refuses that is no method of it, as code says it."""

OF_THE_PROFILE = {
    "posix.urandom": "os.urandom(1)",
    "nt.urandom": "os.urandom(1)",
    "Random.random": "random.random()",
    "Random.getrandbits": "random.getrandbits(1)",
    "datetime.now": "datetime.datetime.now()",
    "datetime.utcnow": "datetime.datetime.utcnow()",
    "datetime.today": "datetime.datetime.today()",
    "date.today": "datetime.date.today()",
}
"""What the profile net calls otherwise than code does."""

OF_THE_AUDIT = {
    "open": "open io.open os.open codecs.open pathlib.Path('a').open pathlib.Path('a').read_text",
    "os.": "os.chdir os.chflags os.chmod os.chown os.getxattr os.link os.listdir os.listxattr os.lockf os.mkdir "
    "os.remove os.removexattr os.rename os.rmdir os.scandir os.setxattr os.symlink os.truncate os.utime os.walk "
    "os.fwalk os.fork os.forkpty os.kill os.killpg os.posix_spawn os.spawnv os.execv os.system os.putenv os.unsetenv "
    "os.startfile os.add_dll_directory os.listdrives os.listmounts os.listvolumes",
    "socket.": "socket.socket socket.create_connection socket.create_server socket.getaddrinfo socket.gethostbyname "
    "socket.gethostbyaddr socket.gethostname socket.getnameinfo socket.getservbyname socket.getservbyport "
    "socket.sethostname",
    "subprocess.": "subprocess.Popen subprocess.run subprocess.check_output",
    "shutil.": "shutil.copyfile shutil.copymode shutil.copystat shutil.copytree shutil.chown shutil.move shutil.rmtree "
    "shutil.make_archive shutil.unpack_archive",
    "tempfile.": "tempfile.mkstemp tempfile.mkdtemp tempfile.NamedTemporaryFile",
    "sqlite3.connect": "sqlite3.connect",
    "urllib.Request": "urllib.request.urlopen",
    "_thread.start_new_thread": "threading.Thread _thread.start_new_thread",
    "_thread.start_joinable_thread": "threading.Thread _thread.start_joinable_thread",
    "time.sleep": "time.sleep",
}
"""Functions that raise each audit event, from the table in Python's documentation."""

NOT_FOUND = {
    "socket.connect": "a socket is found where it is made; what else is called `connect` is not known",
    "socket.bind": "likewise",
    "socket.sendto": "likewise",
    "os.fchmod": "it takes a descriptor, and the `os.open` that gave it is found",
}
"""Of the names in the nets' families, those that are no finding, and why."""

MODULES = (
    "import asyncio, codecs, datetime, io, os, pathlib, random, shutil, socket, sqlite3, subprocess, tempfile, "
    "threading, time, _thread, urllib.request"
)


def codes(statement: str) -> set[str]:
    text = f"{MODULES}\nfrom engine import orchestration\n@orchestration\nasync def o(ctx):\n    {statement}\n"
    return {each.code for each in report(text).findings}


@pytest.mark.parametrize("name", INSTEAD)
def test_what_the_loop_refuses_is_found(name: str) -> None:
    assert codes(OF_THE_LOOP.get(name, f"asyncio.get_running_loop().{name}(1)")) - {"TL402"}


@pytest.mark.parametrize("name", PROFILED)
def test_what_the_profile_net_refuses_is_found(name: str) -> None:
    assert codes(OF_THE_PROFILE.get(name, f"{name}()"))


@pytest.mark.parametrize("event", AUDITED)
def test_what_the_audit_net_refuses_is_found(event: str) -> None:
    missed = [name for name in OF_THE_AUDIT[event].split() if not codes(f"{name}(1)")]
    assert missed == []


def test_what_is_said_not_to_be_found_is_not() -> None:
    assert all(reason and name not in CALLS for name, reason in NOT_FOUND.items())


def test_the_events_of_the_audit_net_are_those_tried() -> None:
    assert set(OF_THE_AUDIT) == set(AUDITED)


def test_every_name_of_the_tables_has_a_rule() -> None:
    assert {use.code for use in (*CALLS.values(), *METHODS.values(), *READS.values())} <= set(RULES)


# By the first cell of its row on the page: code that says it.
WAYS: dict[str, list[str]] = {
    "`asyncio.to_thread`, `run_in_executor`": [
        "await asyncio.to_thread(int)",
        "await asyncio.get_running_loop().run_in_executor(None, int)",
    ],
    "`anyio.to_thread.run_sync`": ["import anyio.to_thread; await anyio.to_thread.run_sync(int)"],
    "`asyncio.open_connection`, `start_server`": [
        "await asyncio.open_connection('a', 1)",
        "await asyncio.start_server(print, 'a', 1)",
    ],
    "`asyncio.create_subprocess_exec`": ["await asyncio.create_subprocess_exec('true')"],
    "`asyncio.as_completed` over coroutines": ["for one in asyncio.as_completed([asyncio.sleep(0)]): await one"],
    "`asyncio.wait` over what `gather` returns": ["await asyncio.wait({asyncio.gather(asyncio.sleep(0))})"],
    "`socket.socket`, and so HTTP and database clients": ["socket.socket()", "import httpx; httpx.get('a')"],
    "`open`, `Path.read_text`": ["open('a')", "pathlib.Path('a').read_text()"],
    "`os.listdir`, `os.remove`, `os.system`": ["os.listdir()", "os.remove('a')", "os.system('true')"],
    "`subprocess.run`": ["subprocess.run(['true'])"],
    "`sqlite3.connect`": ["sqlite3.connect('a')"],
    "`threading.Thread.start`": ["threading.Thread(target=int).start()"],
    "`time.sleep`": ["time.sleep(1)"],
    "`time.time`, `time.monotonic`": ["time.time()", "time.monotonic()", "time.time_ns()"],
    "`datetime.now`, `date.today`": ["datetime.datetime.now(datetime.UTC)", "datetime.date.today()"],
    "`os.urandom`, `uuid.uuid4`, `secrets`": [
        "os.urandom(1)",
        "import uuid; uuid.uuid4()",
        "import secrets; secrets.randbits(8)",
    ],
    "functions of the module `random`": [
        "random.random()",
        "random.choice('a')",
        "from random import shuffle; shuffle([])",
    ],
    "`random.Random()` without a seed": ["random.Random().random()"],
    "`os.environ`, module globals": ["os.environ.get('HOME')", "global x; x = 1"],
    "the order of a set of strings, `id()`, `hash(object())`": ["list({'a', 'b'})", "id(ctx)", "hash(object())"],
}


def column(heading: str) -> dict[str, str]:
    """A column of the table of nets by the first cells of its rows."""
    lines = PAGE.split("| in an orchestration |", 1)[1].splitlines()
    headings = [cell.strip() for cell in lines[0].strip("|").split("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:] if line.startswith("|")]
    return {row[0]: row[1:][headings.index(heading)] for row in rows if len(row) == len(headings) + 1}


def test_every_row_of_the_page_is_tried() -> None:
    assert set(column("check")) == set(WAYS)


@pytest.mark.parametrize("row", WAYS)
def test_a_row_of_the_page_says_which_rule_finds_it(row: str) -> None:
    found = [codes(way) for way in WAYS[row]]
    assert all(found)
    assert set().union(*found) == set(re.findall(r"TL\d+", column("check")[row]))


def test_the_page_has_the_table_of_rules() -> None:
    rows = re.findall(r"^\| (TL\d+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert rows == [(code, rule.what, rule.instead) for code, rule in RULES.items()]
