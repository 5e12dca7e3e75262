"""Does `turnlog check` find what it is pointed at, say what is there for people and programs, and import nothing?"""

import json
import re
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from provider_log.cli.app import run
from provider_log.cli.exits import Exit

PAGE = (Path(__file__).parents[4] / "docs/determinism.md").read_text(encoding="utf-8")

CLOCK = "import time\nfrom engine import orchestration\n@orchestration\nasync def {}(ctx):\n    return time.time()\n"
CLEAN = "from engine import orchestration\n@orchestration\nasync def clean(ctx):\n    return ctx.utc_now()\n"
CALLS = "from engine import orchestration\nfrom {} import now\n@orchestration\nasync def o(ctx):\n    return now()\n"
NOW = "import time\ndef now():\n    return time.time()\n"


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def places(self) -> list[str]:
        return [f"{each['path']}:{each['line']}" for each in self.json["findings"]]


Command = Callable[..., Ran]


@pytest.fixture
def turnlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Generator[Command]:
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)

    def command(*arguments: str) -> Ran:
        code = run(["check", *arguments])
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    yield command
    assert not [name for name in set(sys.modules) - modules if name.partition(".")[0] in {"shop", "a", "b"}]


def put(**files: str) -> None:
    for name, text in files.items():
        path = Path(name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def package(name: str) -> None:
    Path(name).mkdir(parents=True, exist_ok=True)
    Path(name, "__init__.py").touch()


def test_no_finding_is_exit_0(turnlog: Command) -> None:
    put(a=CLEAN)
    assert turnlog("a.py") == (Exit.OK, "no findings; 1 orchestrations and 0 functions they call\n", "")
    assert turnlog("a.py", "--json").json == {"modules": 1, "orchestrations": 1, "functions": 1, "findings": []}


def test_a_finding_is_a_line_and_exit_6(turnlog: Command) -> None:
    put(a=CLOCK.format("late"))
    ran = turnlog("a.py")
    assert ran.out.splitlines() == [
        "a.py:5:12: TL101 time.time() reads a clock; use ctx.utc_now()",
        "1 findings; 1 orchestrations and 0 functions they call",
    ]
    assert (ran.code, ran.err) == (Exit.DIFFERS, "")


def test_for_programs_it_has_every_part(turnlog: Command) -> None:
    put(a=CLOCK.format("late"))
    assert turnlog("a", "--json").json["findings"] == [
        {
            "path": "a.py",
            "line": 5,
            "column": 12,
            "code": "TL101",
            "message": "time.time() reads a clock",
            "instead": "ctx.utc_now()",
            "orchestration": "late",
        }
    ]


def test_a_line_is_not_folded(turnlog: Command) -> None:
    long = "o" * 300
    put(a=CALLS.format("b").replace("o(ctx)", f"{long}(ctx)"), b=NOW)
    assert turnlog("a.py").out.splitlines()[0].endswith(f"{long}; use ctx.utc_now()")


@pytest.mark.parametrize("named", ["shop/orders.py", "shop.orders", "shop", "shop/", ".", "shop.orders:registry"])
def test_files_directories_and_modules_are_found(turnlog: Command, named: str) -> None:
    package("shop")
    put(shop__orders=CALLS.format("shop.times"), shop__times=NOW)
    assert turnlog(named, "--json").places == ["shop/times.py:3"]


def test_modules_beside_a_file_are_read_without_a_package(turnlog: Command) -> None:
    put(app__orders=CALLS.format("times"), app__times=NOW)
    assert turnlog("app", "--json").places == ["app/times.py:3"]
    put(app__orders=CALLS.format("app.times"))
    assert turnlog("app/orders.py", "--json").places == ["app/times.py:3"]


def test_modules_of_one_name_in_two_directories_are_two(turnlog: Command) -> None:
    put(a__orders=CALLS.format("times"), a__times=NOW, b__orders=CALLS.format("times"), b__times="now = int\n")
    ran = turnlog("a", "b", "--json")
    assert (ran.places, ran.json["modules"], ran.json["orchestrations"]) == (["a/times.py:3"], 4, 2)


def test_relative_imports_in_packages_of_packages_are_found(turnlog: Command) -> None:
    package("src/shop")
    package("src/shop/deep")
    put(src__shop__deep__orders=CALLS.format("..times"), src__shop__times=NOW)
    assert turnlog("src", "--json").places == ["src/shop/times.py:3"]
    assert turnlog("src/shop/deep/orders.py", "--json").places == ["src/shop/times.py:3"]


def test_a_module_on_the_search_path_is_found_and_not_imported(
    turnlog: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package("elsewhere/shop")
    put(elsewhere__shop__orders="raise RuntimeError\n" + CLOCK.format("late"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "elsewhere"), *sys.path])
    assert turnlog("shop.orders", "--json").places == ["elsewhere/shop/orders.py:6"]
    assert turnlog("shop", "--json").places == ["elsewhere/shop/orders.py:6"]


def test_environments_and_hidden_directories_are_not_entered(turnlog: Command) -> None:
    put(a=CLEAN, env__late=CLOCK.format("late"), **{".cache__late": CLOCK.format("late")})
    Path("env/pyvenv.cfg").touch()
    assert turnlog(".", "--json").json["modules"] == 1


def test_a_file_named_twice_is_checked_once(turnlog: Command) -> None:
    put(a=CLOCK.format("late"))
    assert turnlog("a.py", "./a.py", ".", "--json").json["modules"] == 1


def test_another_encoding_is_read_as_the_file_says(turnlog: Command) -> None:
    Path("a.py").write_bytes(b"# coding: latin-1\n# \xe4\n" + CLOCK.format("late").encode())
    assert turnlog("a.py", "--json").places == ["a.py:7"]


def test_where_no_orchestration_is_one_is_told(turnlog: Command) -> None:
    put(a="x = 1\n")
    ran = turnlog("a.py")
    assert (ran.code, ran.err.startswith("no orchestration is there: ")) == (Exit.OK, True)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("nothing.py", "expected a file, a directory or a module, but there is no nothing.py"),
        ("no/where", "expected a file, a directory or a module, but there is no no/where"),
        ("nothing", "expected a module 'nothing' in "),
        ("a.nothing", "expected a module 'a.nothing' in "),
        ("__main__x", "expected a module '__main__x' in "),
        ("empty", "expected Python files in empty, but there is none"),
        ("broken.py", "expected Python, but broken.py:1: invalid syntax"),
        ("bytes.py", "expected Python in bytes.py, but "),
        ("sys", "expected a module 'sys' in "),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(turnlog: Command, named: str, says: str) -> None:
    put(a=CLEAN, broken="def f(:\n")
    Path("bytes.py").write_bytes(b"# \xff\xfe\n")
    Path("empty").mkdir()
    ran = turnlog(named)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert ran.err.startswith(f"turnlog: {says}")


def test_the_console_of_the_page_is_what_it_prints(turnlog: Command) -> None:
    block = re.search(r"```console\n\$ turnlog check (.*)\n([^`]*)```", PAGE)
    assert block is not None
    package("shop")
    lines = ["from engine import OrchestrationContext, orchestration", "import datetime"]
    lines += ["#"] * 10 + ["def due() -> datetime.datetime:", "    return datetime.datetime.now()"]
    lines += ["@orchestration", "async def order(ctx): due()", "@orchestration", "async def ship(ctx):", "    due()"]
    lines += ["#"] * 10 + ["    await one()", "    ctx.activity('bill')", "async def one(): two(); three()"]
    lines += ["def two(): ...", "def three(): ..."]
    put(shop__orders="\n".join(lines) + "\n", fleet=CLEAN)
    assert turnlog(*block[1].split()).out == block[2]


def test_the_ignore_of_the_page_silences(turnlog: Command) -> None:
    block = re.search(r"^home = .*turnlog: ignore.*$", PAGE, re.MULTILINE)
    assert block is not None
    put(a=f"import os\nfrom engine import orchestration\n@orchestration\nasync def o(ctx):\n    {block[0]}\n")
    assert turnlog("a.py").code == Exit.OK


def test_links_and_what_editors_leave_behind_are_not_entered(turnlog: Command, tmp_path: Path) -> None:
    put(shop__orders=CLOCK.format("o"))
    (tmp_path / "shop" / "up").symlink_to("..")
    (tmp_path / "shop" / "again").symlink_to("..")
    (tmp_path / "shop" / ".#orders.py").symlink_to("nowhere")
    (tmp_path / "shop" / "gone.py").symlink_to("nowhere")
    assert turnlog(".", "--json").places == ["shop/orders.py:5"]


def test_what_two_of_the_places_call_is_told_once(turnlog: Command) -> None:
    put(shared=NOW, a__one=CALLS.format("shared"), b__two=CALLS.format("shared"))
    assert turnlog("a", "b", "--json").places == ["shared.py:3"]
