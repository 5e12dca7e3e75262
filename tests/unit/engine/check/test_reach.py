"""Which functions are orchestrations, and which code runs in them? Through imports, aliases, calls and modules."""

import pytest

from engine.check.checking import check, together
from engine.check.sources import NotPython, SourceText
from tests.unit.engine.check.reading import report, said

BODY = "(ctx):\n    return time.time()\n"

DECORATED = {
    "a name from the package": "from engine import orchestration\n@orchestration\nasync def o",
    "another name for it": "from engine import orchestration as durable\n@durable\nasync def o",
    "an attribute of the package": "import engine\n@engine.orchestration\nasync def o",
    "of the package by another name": "import engine as e\n@e.orchestration(name='order', version='2.0')\nasync def o",
    "from the module that has it": "from engine.registry import orchestration\n@orchestration()\nasync def o",
    "an alias in the module": "import engine\nlong = engine.orchestration\n@long\nasync def o",
    "one more decorator": "from engine import orchestration\n@orchestration\n@str\nasync def o",
    "in a function": "from engine import orchestration\ndef make():\n  @orchestration\n  async def o(ctx):\n"
    "    return time.time()\n  return o\nasync def unused",
    "by a module of the user's": "from decorators import task\n@task\nasync def o",
    "two modules away": "import shop2\n@shop2.task\nasync def o",
}
OTHERS = {
    "decorators": "from engine import orchestration\ntask = orchestration\n",
    "shop2": "from decorators import task\n",
}


@pytest.mark.parametrize("way", DECORATED)
def test_an_orchestration_is_known_however_its_decorator_is_named(way: str) -> None:
    assert report("import time\n" + DECORATED[way] + BODY, OTHERS).orchestrations == 1
    assert [code for _, code in said("import time\n" + DECORATED[way] + BODY, OTHERS)] == ["TL101"]


@pytest.mark.parametrize("call", ["orchestration(o)", "orchestration(name='order')(o)"])
def test_a_call_of_the_decorator_makes_one_too(call: str) -> None:
    head = f"import time\nfrom engine import Registry, orchestration\nasync def o{BODY}"
    assert said(f"{head}registry = Registry(orchestrations=[{call}])\n") == [(4, "TL101")]


@pytest.mark.parametrize(
    "decorator", ["from other import orchestration", "def orchestration(f): return f", "orchestration = str"]
)
def test_what_only_has_the_name_is_none(decorator: str) -> None:
    assert report(f"import time\n{decorator}\n@orchestration\nasync def o{BODY}").orchestrations == 0


CALLED = {
    "a function of the module": ("read()", "def read():\n    return time.time()"),
    "an async one": ("await read()", "async def read():\n    return time.time()"),
    "one that another calls": ("ask()", "def ask():\n    return read()\ndef read():\n    return time.time()"),
    "one that calls itself": ("read()", "def read():\n    return time.time() or read()"),
    "a function in it": ("1\n    def read():\n        return time.time()\n    read()", ""),
    "a lambda": ("(lambda: time.time())()", ""),
    "a comprehension": ("[time.time() for _ in 'a']", ""),
    "a default of a function in it": ("1\n    def read(at=time.time()):\n        return at\n    read()", ""),
    "a method": ("Saga(ctx).read()", "class Saga:\n    def read(self):\n        return time.time()"),
    "a method of a variable": (
        "1\n    saga = Saga()\n    await saga.run()",
        "class Saga:\n    async def run(self):\n        self.read()\n    def read(self):\n        return time.time()",
    ),
    "a static method": ("Saga.read()", "class Saga:\n    @staticmethod\n    def read():\n        return time.time()"),
    "what makes an instance": ("Saga()", "class Saga:\n    def __init__(self):\n        self.at = time.time()"),
    "what map calls": ("list(map(read, 'a'))", "def read(_):\n    return time.time()"),
    "a key": ("sorted('ab', key=read)", "def read(_):\n    return time.time()"),
    "what a task group starts": ("group.start_soon(read)", "async def read():\n    return time.time()"),
    "the last of several": ("read()", "def read():\n    return 1\ndef read():\n    return time.time()"),
}


@pytest.mark.parametrize("way", CALLED)
def test_what_an_orchestration_calls_is_read(way: str) -> None:
    call, definitions = CALLED[way]
    text = (
        f"import time\nfrom engine import orchestration\n@orchestration\nasync def o(ctx, group):\n    return {call}\n"
    )
    assert [code for _, code in said(text + definitions + "\n")] == ["TL101"]


NOT_CALLED = {
    "an activity": ("await ctx.schedule_activity(read)", "@activity\ndef read():\n    return time.time()"),
    "an activity by its name": ("await ctx.activity(read)", "@activity(name='r')\ndef read():\n    return time.time()"),
    "an activity in a list": ("[read]", "@activity\ndef read():\n    return time.time()"),
    "an activity that is started": ("group.start_soon(read)", "@activity\ndef read():\n    return time.time()"),
    "an activity made by a call": (
        "await ctx.activity(read)\n    read()",
        "def read():\n    return time.time()\nactivities = [activity(read)]",
    ),
    "an activity of another framework": ("read()", "@app.activity\ndef read():\n    return time.time()"),
    "an activity in it": ("1\n    @activity\n    def read():\n        return time.time()", ""),
    "a function nobody calls": ("1", "def read():\n    return time.time()"),
    "a function that is only named": ("[read]", "def read():\n    return time.time()"),
    "one of two, nobody knows which": (
        "read()",
        "if ctx:\n    read = 1\nelse:\n    def read():\n        return time.time()",
    ),
    "a parameter of that name": ("(lambda read: read())(1)", "def read():\n    return time.time()"),
    "a method of something unknown": ("group.read()", "class Saga:\n    def read(self):\n        return time.time()"),
    "what a match may have caught": ("1\n    match group:\n        case {**read}:\n            read()", ""),
    "what is annotated by nothing that is one": ("1\n    x: 'a b' = group\n    x.read()", ""),
    "an annotation": ("1\n    x: time.time() = 2", ""),
}


@pytest.mark.parametrize("way", NOT_CALLED)
def test_what_does_not_run_in_one_is_not_read(way: str) -> None:
    call, definitions = NOT_CALLED[way]
    head = "import time\nfrom engine import activity, orchestration\n@orchestration\nasync def o(ctx, group):\n"
    assert said(f"{head}    return {call}\n{definitions}\n") == []


PACKAGE = {
    "shop": "from shop.times import late\n",
    "shop.times": "import time\nfrom .deep import deeper\ndef now():\n    return time.time()\nlate = now\n"
    "class Clock:\n    def read(self=1):\n        return now()\n",
    "shop.deep": "from . import times\nfrom shop import orders\ndef deeper():\n    return times.now()\n",
    "shop.acts": "import time\nfrom engine import activity\n@activity\ndef read():\n    return time.time()\n",
    "shop.broken": "def (",
    "shop.state": "count = 0\ndef grow():\n    global count\n    count += 1\n",
    "engine": "import time\ndef orchestration(f):\n    return time.time()\n",
}


@pytest.mark.parametrize(
    "code",
    [
        "from shop.times import now\n{o}    now()\n",
        "from .times import now as then\n{o}    then()\n",
        "from . import times\n{o}    times.now()\n",
        "import shop.times\n{o}    shop.times.now()\n",
        "import shop\n{o}    shop.late()\n",
        "import shop.times\n{o}    shop.times.Clock.read()\n",
        "from .times import Clock\n{o}    Clock().read()\n",
        "from .times import deeper\n{o}    deeper()\n",
        "{o}    from shop.times import now\n    now()\n",
    ],
)
def test_functions_of_other_modules_are_read_where_they_are(code: str) -> None:
    text = code.format(o="from engine import orchestration\n@orchestration\nasync def o(ctx):\n")
    (found,) = report(text, PACKAGE, name="shop.orders").findings
    assert (found.path, found.line, found.code) == ("shop/times.py", 4, "TL101")
    assert found.message == "time.time() reads a clock, in now, called by orchestration o"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from .acts import read\n{o}    await ctx.activity(read)\n", []),
        ("from .acts import read\n{o}    await ctx.activity(read)\n    read()\n", ["TL403"]),
        ("from .broken import read\n{o}    read()\n", []),
        ("from .nowhere import read\n{o}    read()\n", []),
        ("from .state import count\n{o}    return count\n", ["TL304"]),
        ("from shop import state\n{o}    return state.count\n", ["TL304"]),
        ("from shop import state\n{o}    state.count += 1\n", ["TL303"]),
        ("from shop import state\n{o}    state.grow()\n", ["TL303"]),
    ],
)
def test_what_is_imported_is_what_its_module_says(code: str, expected: list[str]) -> None:
    text = code.format(o="from engine import orchestration\n@orchestration\nasync def o(ctx):\n")
    assert [each.code for each in report(text, PACKAGE, name="shop.orders").findings] == expected


def test_one_line_is_found_once_however_many_call_it() -> None:
    text = "import time\nfrom engine import orchestration\ndef now():\n    return time.time()\n"
    text += "".join(f"@orchestration\nasync def o{number}(ctx):\n    now()\n" for number in range(3))
    found = report(text)
    assert (found.orchestrations, found.functions, len(found.findings)) == (3, 4, 1)


def test_the_name_is_the_one_it_is_started_by() -> None:
    head = "import time\nfrom engine import orchestration\n@orchestration(name='order')\nasync def o(ctx):\n"
    (found,) = report(f"{head}    time.time()\n").findings
    assert (found.orchestration, found.column) == ("order", 5)
    assert str(found) == "shop.py:5:5: TL101 time.time() reads a clock; use ctx.utc_now()"


@pytest.mark.parametrize("text", ["def f(:", "x = 1\n  y = 2", "\0"])
def test_what_does_not_parse_is_told_with_its_place(text: str) -> None:
    with pytest.raises(NotPython, match=r"^shop\.py:\d: "):
        report(text)


def test_a_sum_of_a_thousand_parts_is_read() -> None:
    head = "import time\nfrom engine import orchestration\n@orchestration\nasync def o(ctx, x):\n"
    for operator in "+|/":
        assert said(f"{head}    list({operator.join(['x'] * 1_000)})\n    time.time()\n") == [(6, "TL101")]


def test_what_is_nested_too_deeply_for_python_is_told_as_well() -> None:
    with pytest.raises(NotPython, match=r"^shop\.py:1: "):
        report("(" * 300 + ")" * 300)


def test_reports_of_several_directories_are_one() -> None:
    text = "import time\nfrom engine import orchestration\n@orchestration\nasync def o(ctx):\n    time.time()\n"
    both = together(check([SourceText(name, f"{name}.py", text)], lambda _: None) for name in ("b", "a"))
    assert (both.modules, both.orchestrations, both.functions) == (2, 2, 2)
    assert [each.path for each in both.findings] == ["a.py", "b.py"]


@pytest.mark.parametrize(
    "text",
    [
        "a = b\nb = a\n{o}    return a()\n",
        "{o}    a = b\n    b = a\n    return a.c().d()\n",
        "{o}    a = [*b]\n    b = [*a]\n    asyncio.as_completed(a)\n",
        "{o}    a = {{b}}\n    b = a.pop()\n    return list(a)\n",
        "{o}    for a in b:\n        for b in [a]:\n            c = {{a, b}}\n    return list(c)\n",
        "from shop import a\n{o}    return a()\n",
        "{o}    return " + "x.y()." * 30 + "z()\n",
        "{o}    return " + "+".join("x" * 200) + "\n",
    ],
)
def test_names_that_lead_in_circles_end(text: str) -> None:
    header = "import asyncio\nfrom engine import orchestration\n@orchestration\nasync def o(ctx, x):\n"
    assert report(text.format(o=header), {"shop": text}).orchestrations == 1


def test_a_global_that_changes_is_told_with_who_changes_it() -> None:
    head = "from .state import count\nfrom engine import orchestration\n"
    text = head + "@orchestration\nasync def o(ctx):\n    return count\n"
    (found,) = report(text, PACKAGE, name="shop.orders").findings
    assert found.message == "the global count of shop.state is changed by grow()"
