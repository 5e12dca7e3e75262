"""Does each command of a client do what it says, print what people and programs need, and end with its exit code?"""

import io
import json
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from engine.clock import SystemClock
from engine.errors import OrchestrationHeld
from engine.model.failure import Category, Failure
from engine.model.messages import StartOrchestration
from engine.model.payload import NULL
from provider_log.cli import show
from provider_log.cli.app import run
from provider_log.cli.calling import Node
from provider_log.cli.exits import Exit
from provider_log.server.app import create_app
from provider_log.server.remote import RemoteProvider
from tests.unit.provider_log.cli.live import live_node
from tests.unit.provider_log.served import ServedMemory


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ran]


@pytest.fixture(scope="module")
def url() -> Generator[str]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(live_node()) as url:
        yield url


@pytest.fixture
def turnlog(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("TURNLOG_URL", url)

    def command(*arguments: str) -> Ran:
        code = run(arguments)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return command


def test_a_start_prints_the_id_alone_and_says_what_comes_next(turnlog: Command) -> None:
    ran = turnlog("start", "welcome", '"Ann"', "--id", "a b")
    assert ran == (Exit.OK, "a b\n", "next: turnlog wait 'a b'\n")


@pytest.mark.parametrize(("delay", "shown"), [("1h", "1:00:00"), ("1.5d", "1 day, 12:00:00"), ("90000ms", "0:01:30")])
def test_a_delayed_start_says_when_it_begins(turnlog: Command, delay: str, shown: str) -> None:
    ran = turnlog("start", "welcome", '"Ann"', "--id", delay, "--delay", delay)
    assert ran == (Exit.OK, f"{delay}\n", f"{delay} begins in {shown}\nnext: turnlog wait {delay} --not-begun\n")
    assert turnlog("status", delay).code == Exit.NOT_FOUND


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cancel", "off-1"), "off-1 is asked to end\n"),
        (("event", "off-2", "decision", "--keep"), "event decision is on its way to off-2\n"),
        (("enqueue", "off-3", "lines", "7"), "a message for queue lines is on its way to off-3\n"),
    ],
)
def test_what_has_not_begun_is_reached_where_that_is_said(
    turnlog: Command, arguments: tuple[str, ...], said: str
) -> None:
    instance = arguments[1]
    program = {"off-1": "approval", "off-2": "approval", "off-3": "reader"}[instance]
    turnlog("start", program, "--id", instance, "--delay", "1s")
    waits = f"nobody was asked whether {instance} exists: this waits for its start if that is put off\n"
    assert turnlog(*arguments, "--not-begun") == (Exit.OK, said, waits)
    ended = turnlog("wait", instance, "--not-begun")
    assert (ended.code, ended.out) == {"off-1": (1, ""), "off-2": (0, "null\n"), "off-3": (0, "7\n")}[instance]


def test_a_wait_for_what_has_not_begun_says_so_when_it_takes_too_long(
    turnlog: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provider_log.cli.calling.APPEARS_S", 0.01)
    ran = turnlog("start", "welcome", '"Ann"', "--id", "off 4", "--delay", "1h", "--wait", "--timeout", "0.05")
    assert ran.code == Exit.TIMED_OUT
    assert ran.err.endswith(
        "turnlog: expected 'off 4' to end within 0.05 s, but it has not begun; its start is put off by 1:00:00; "
        "next: turnlog wait 'off 4' --not-begun\n"
    )
    ran = turnlog("wait", "off 4", "--timeout", "0.05", "--not-begun")
    assert ran.code == Exit.TIMED_OUT
    assert "it has not begun; is its start put off for longer, or its orchestration not registered?" in ran.err


@pytest.mark.parametrize("arguments", [("cancel",), ("event", "decision"), ("enqueue", "lines"), ("wait",)])
def test_who_reaches_for_what_has_not_begun_is_told_of_the_flag(
    turnlog: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("provider_log.cli.calling.APPEARS_S", 0.01)
    command, *rest = arguments
    turnlog("start", "approval", "--id", "off-6", "--delay", "1h")
    ran = turnlog(command, "off-6", *rest)
    assert ran.code == Exit.NOT_FOUND
    assert ran.err.endswith("; --not-begun is for one whose start is put off\n")


def test_a_delayed_start_of_what_exists_is_waited_for_as_it_is(turnlog: Command) -> None:
    turnlog("start", "welcome", '"Ann"', "--id", "off-5", "--wait")
    ran = turnlog("start", "welcome", '"Ann"', "--id", "off-5", "--delay", "1h")
    assert ran.err.endswith("nothing was started\nnext: turnlog wait off-5\n")


@pytest.mark.parametrize("delay", ["10", "s", "-1s", "1y", "99999999999d"])
def test_what_is_no_delay_is_refused(turnlog: Command, delay: str) -> None:
    ran = turnlog("start", "welcome", '"Ann"', f"--delay={delay}")
    assert ran.code == Exit.USAGE
    assert "expected a" in ran.err


def test_a_start_can_refuse_or_begin_anew_what_exists(turnlog: Command) -> None:
    begun = turnlog("start", "welcome", '"Ann"', "--id", "r1", "--if-exists", "refuse", "--wait")
    assert (begun.code, begun.err) == (Exit.OK, "started r1\n")
    refused = turnlog("start", "welcome", '"Bob"', "--id", "r1", "--if-exists", "refuse")
    assert (refused.code, refused.out) == (Exit.USAGE, "")
    assert "expected this start to begin 'r1', but it exists and is completed" in refused.err
    anew = turnlog("start", "welcome", '"Cy"', "--id", "r1", "--if-exists", "restart-ended", "--wait", "--json")
    assert anew.json["output"] == {"said": "hello Cy"}
    assert anew.json["current_execution_id"] == 2
    again = turnlog("start", "welcome", '"Di"', "--id", "r1", "--if-exists", "restart_ended", "--wait", "--json")
    assert again.json["current_execution_id"] == 3


def test_an_event_can_be_kept_for_the_code(turnlog: Command) -> None:
    with_keep = ("event", "k2", "decision", '"yes"', "--keep")
    turnlog("start", "approval", "--id", "k2")
    assert turnlog(*with_keep) == (Exit.OK, "event decision is on its way to k2\n", "")
    assert turnlog("wait", "k2").out == '"yes"\n'
    received = next(event for event in turnlog("history", "k2", "--json").json["events"] if "kept" in event)
    assert received["kept"] is True


def test_a_start_without_an_id_makes_one_up(turnlog: Command) -> None:
    ran = turnlog("start", "welcome", '"Ann"', "--json")
    assert re.fullmatch(r"\w{8,}", ran.json["instance"])
    assert turnlog("wait", ran.json["instance"]).code == Exit.OK


def test_a_start_that_waits_prints_what_the_orchestration_returned(turnlog: Command) -> None:
    ran = turnlog("start", "welcome", '"Ann"', "--id", "s1", "--wait")
    assert ran == (Exit.OK, '{\n  "said": "hello Ann"\n}\n', "started s1\n")
    again = turnlog("start", "welcome", '"Bob"', "--id", "s1", "--wait", "--json")
    assert again.json["output"] == {"said": "hello Ann"}


def test_a_start_of_what_exists_says_so(turnlog: Command) -> None:
    turnlog("start", "welcome", '"Ann"', "--id", "s2", "--wait")
    again = turnlog("start", "welcome", '"Bob"', "--id", "s2")
    assert (again.code, again.out) == (Exit.OK, "s2\n")
    assert again.err.startswith("s2 exists already and is completed: nothing was started\n")
    assert turnlog("start", "welcome", '"Bob"', "--id", "s2", "--if-exists", "ignore") == again
    waits = turnlog("start", "welcome", '"Bob"', "--id", "s2", "--wait")
    assert waits.err == "s2 exists already and is completed: nothing was started\n"


def test_a_wait_prints_the_output_or_all_of_the_state(turnlog: Command) -> None:
    turnlog("start", "welcome", '"Ann"', "--id", "w1")
    assert turnlog("wait", "w1").out == '{\n  "said": "hello Ann"\n}\n'
    state = turnlog("wait", "w1", "--json").json
    assert (state["instance"], state["status"], state["output"]) == ("w1", "completed", {"said": "hello Ann"})


def test_a_failed_orchestration_is_exit_1_and_says_what_the_code_raised(turnlog: Command) -> None:
    ran = turnlog("start", "order", '"lamp"', "--id", "f1", "--wait")
    assert ran.code == Exit.FAILED
    assert ran.err.startswith("started f1\nturnlog: f1 ended with ")
    assert "no lamp left" in ran.err
    assert turnlog("wait", "f1").code == Exit.FAILED
    shown = turnlog("status", "f1").out
    assert "OutOfStock: no lamp left" in shown
    assert re.search(r'live\.py", line \d+, in reserve', shown)


def test_a_wait_that_takes_too_long_is_exit_4_and_the_instance_goes_on(turnlog: Command) -> None:
    turnlog("start", "approval", "--id", "t1")
    ran = turnlog("wait", "t1", "--timeout", "0.05")
    assert ran == (Exit.TIMED_OUT, "", "turnlog: expected 't1' to end within 0.05 s, but it is running\n")
    assert turnlog("status", "t1", "--json").json["status"] == "running"
    ran = turnlog("start", "nobody-has-this", "--id", "t2", "--wait", "--timeout", "0.05")
    assert ran.code == Exit.TIMED_OUT
    assert "is its orchestration registered?" in ran.err


def test_an_event_reaches_the_code_that_waits_for_it(turnlog: Command) -> None:
    turnlog("start", "approval", "--id", "e1")
    ran = turnlog("event", "e1", "decision", '{"by": "Ann", "n": [1.5, null]}')
    assert ran == (Exit.OK, "event decision is on its way to e1\n", "")
    assert turnlog("wait", "e1", "--json").json["output"] == {"by": "Ann", "n": [1.5, None]}


def test_a_queue_message_is_kept_until_it_is_read_and_one_of_two_with_an_id_is_dropped(turnlog: Command) -> None:
    turnlog("start", "reader", "--id", "q1")
    for _ in range(2):
        assert turnlog("enqueue", "q1", "lines", "7", "--message-id", "m", "--json").json == {"instance": "q1"}
    assert turnlog("wait", "q1").out == "7\n"


def test_data_comes_from_a_file_or_from_standard_input(
    turnlog: Command, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "name.json"
    path.write_text('"File"')
    assert "hello File" in turnlog("start", "welcome", f"@{path}", "--wait").out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'"Pipe"')))
    assert "hello Pipe" in turnlog("start", "welcome", "-", "--wait").out


def test_a_cancelled_instance_says_why(turnlog: Command) -> None:
    turnlog("start", "approval", "--id", "c1")
    assert turnlog("cancel", "c1", "--reason", "closed for today").out == "c1 is asked to end\n"
    ran = turnlog("wait", "c1")
    assert ran.code == Exit.FAILED
    assert "closed for today" in ran.err


@pytest.mark.parametrize("arguments", [("cancel",), ("event", "decision"), ("enqueue", "lines")])
def test_what_comes_after_the_end_is_said_to_change_nothing(turnlog: Command, arguments: tuple[str, ...]) -> None:
    command, *rest = arguments
    turnlog("start", "welcome", '"Ann"', "--id", "late", "--wait")
    assert turnlog(command, "late", *rest) == (Exit.OK, "late has ended (completed): nothing will happen\n", "")


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (("cancel", "blocked"), "blocked is asked to end\n"),
        (("event", "blocked", "decision"), "event decision is on its way to blocked\n"),
        (("enqueue", "blocked", "lines"), "a message for queue lines is on its way to blocked\n"),
    ],
)
def test_what_a_held_instance_is_sent_waits_until_it_is_resumed(
    turnlog: Command, arguments: tuple[str, ...], out: str
) -> None:
    turnlog("start", "reaches_out", "--id", "blocked", "--wait")
    held = "blocked is held: it takes this once it goes on; next: turnlog resume blocked\n"
    assert turnlog(*arguments) == (Exit.OK, out, held)


def test_a_suspended_instance_says_what_to_do_next(turnlog: Command) -> None:
    turnlog("start", "approval", "--id", "paused")
    said = "paused is suspended; next: turnlog resume paused\n"
    assert turnlog("suspend", "paused", "--reason", "a rest") == (Exit.OK, said, "")
    shown = turnlog("status", "paused").out
    assert re.search(r"suspended +a rest *\n *next +`turnlog resume paused`", shown)
    waits = "paused is suspended: it takes this once it goes on; next: turnlog resume paused\n"
    assert turnlog("cancel", "paused") == (Exit.OK, "paused is asked to end\n", waits)
    assert turnlog("resume", "paused").out == "paused goes on\n"
    assert turnlog("wait", "paused").code is Exit.FAILED
    ended = turnlog("suspend", "paused", "--json")
    assert (ended.code, ended.out) == (Exit.USAGE, "")
    assert "to be running, but it is cancelled" in ended.err


def test_who_suspends_twice_hears_that_the_first_reason_stays(turnlog: Command) -> None:
    turnlog("start", "approval", "--id", "p 2")
    turnlog("suspend", "p 2", "--reason", "a rest")
    said = "p 2 was suspended already, and its reason stays: a rest; next: turnlog resume 'p 2'\n"
    assert turnlog("suspend", "p 2", "--reason", "another") == (Exit.OK, said, "")
    assert turnlog("status", "p 2", "--json").json["suspend_reason"] == "a rest"


def test_a_start_of_what_is_paused_says_that_it_is_to_be_resumed(turnlog: Command) -> None:
    turnlog("start", "reaches_out", "--id", "held 1", "--wait")
    nothing = "exists already and is {}: nothing was started; next: turnlog resume '{}'\n"
    assert turnlog("start", "welcome", "--id", "held 1") == (
        Exit.OK,
        "held 1\n",
        f"held 1 {nothing.format('held', 'held 1')}",
    )
    turnlog("start", "approval", "--id", "p 3")
    turnlog("suspend", "p 3")
    again = turnlog("start", "approval", "--id", "p 3", "--wait", "--timeout", "0.05")
    assert again.err.startswith(f"p 3 {nothing.format('suspended', 'p 3')}")


def test_what_an_instance_keeps_is_shown(turnlog: Command) -> None:
    turnlog("start", "keeps", '"x"', "--id", "k", "--wait")
    rows = [line.split(maxsplit=2)[:2] for line in turnlog("keys", "k").out.splitlines() if "first" in line]
    assert rows == [["first", "[1,2]"]]
    assert "last [red]" in turnlog("keys", "k").out
    assert turnlog("keys", "k", "--json").json == {"first": [1, 2], "last [red]": "x"}
    turnlog("start", "keeps", "null", "--id", "empty", "--wait")
    assert turnlog("keys", "empty") == (Exit.OK, "", "empty keeps nothing\n")


def test_a_tree_is_shown_with_each_child_under_its_parent_and_deleted_with_them(turnlog: Command) -> None:
    turnlog("start", "parent", "--id", "p 1", "--wait")
    family = ["p 1", *(f"p 1::sub::{event}{inner}" for event in (2, 4) for inner in ("", "::sub::2"))]
    shown = turnlog("tree", "p 1").out.splitlines()
    assert [line.strip() for line in shown] == family
    assert [len(line) - len(line.lstrip()) for line in shown] == [0, 2, 4, 2, 4]
    assert turnlog("tree", family[1]).out.splitlines() == [family[1], f"  {family[2]}"]
    assert turnlog("tree", "p 1", "--json").json == {"root": "p 1", "instances": family}
    refused = turnlog("delete", family[1])
    assert refused.code == Exit.USAGE
    assert "is a child" in refused.err
    assert turnlog("delete", "p 1").out.startswith("deleted p 1 and 4 of its children: 5 executions with ")
    assert turnlog("status", "p 1").code == Exit.NOT_FOUND


def test_what_runs_is_deleted_by_force_alone_and_can_be_started_again(turnlog: Command) -> None:
    turnlog("start", "approval", "--id", "d1")
    turnlog("status", "d1")
    refused = turnlog("delete", "d1")
    assert refused.code == Exit.USAGE
    assert "but 'd1' is running" in refused.err
    deleted = turnlog("delete", "d1", "--force", "--json").json
    assert (deleted["instances"], deleted["executions"]) == (1, 1)
    turnlog("start", "welcome", '"Ann"', "--id", "d1", "--wait")
    assert turnlog("delete", "d1").out == "deleted d1: 1 executions with 5 events\n"


def test_earlier_executions_are_forgotten(turnlog: Command) -> None:
    turnlog("start", "countdown", "3", "--id", "n1", "--wait")
    assert turnlog("prune", "n1", "--keep", "3").out == "n1: forgot 1 executions with 2 events\n"
    assert turnlog("prune", "n1", "--keep", "1", "--json").json == {"instances": 1, "executions": 2, "events": 4}
    assert turnlog("wait", "n1").out == "0\n"


def test_what_is_not_held_cannot_be_resumed(turnlog: Command) -> None:
    turnlog("start", "approval", "--id", "r1")
    ran = turnlog("resume", "r1")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert ran.err.startswith("turnlog: expected ")  # not the name of a method of the port
    assert "held" in ran.err


def test_a_status_is_a_fact_a_line(turnlog: Command) -> None:
    turnlog("start", "welcome", '"[bold]Ann[/bold] :smile:"', "--id", "st[red]1", "--wait")
    facts = dict(
        re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in turnlog("status", "st[red]1").out.splitlines()[:5]
    )
    assert facts["instance"] == "st[red]1"
    assert facts["orchestration"] == "welcome 1.0.0"
    assert facts["status"] == "completed"
    assert facts["custom status"] == "greeting"
    assert '"said": "hello [bold]Ann[/bold] :smile:"' in turnlog("status", "st[red]1").out


def test_a_list_is_filtered_paged_and_says_how_to_go_on(turnlog: Command) -> None:
    for instance in ("l/1", "l/2", "l/3"):
        turnlog("start", "welcome", '"x"', "--id", instance, "--wait")
    page = turnlog("list", "--status", "completed", "--name", "welcome", "--after", "l/", "--limit", "2", "--json").json
    assert ([info["instance"] for info in page["instances"]], page["next"]) == (["l/1", "l/2"], "l/2")
    ran = turnlog("list", "--after", "l/", "--limit", "2")
    assert ran.err == "there are more: turnlog list --after l/2\n"
    lines = [line.split() for line in ran.out.splitlines() if "welcome" in line]
    assert [(line[0], line[1:3], line[3]) for line in lines] == [
        ("l/1", ["welcome", "1.0.0"], "completed"),
        ("l/2", ["welcome", "1.0.0"], "completed"),
    ]
    assert turnlog("list", "--name", "other") == (Exit.OK, "", "no such instance\n")


def test_a_history_is_a_timeline_that_says_what_answers_what(turnlog: Command) -> None:
    turnlog("start", "welcome", '"Ann"', "--id", "h1", "--wait")
    lines = [line.split() for line in turnlog("history", "h1").out.splitlines()]
    assert lines[0] == ["h1,", "execution", "1", "of", "1:", "completed"]
    rows = [(line[0], *line[2:]) for line in lines if line and line[0].isdigit()]
    assert rows == [
        ("1", "OrchestrationStarted", "welcome", "1.0.0", '"Ann"'),
        ("2", "CustomStatusUpdated", "greeting"),
        ("3", "ActivityScheduled", "greet", '"Ann"'),
        ("4", "ActivityCompleted", "greet", "#3", '"hello', 'Ann"'),
        ("5", "OrchestrationCompleted", '{"said":"hello', 'Ann"}'),
    ]
    events = turnlog("history", "h1", "--execution", "1", "--json").json["events"]
    assert [(event["event_id"], event["type"]) for event in events][-1] == (5, "OrchestrationCompleted")
    assert events[3]["result"] == "hello Ann"


def test_an_execution_that_is_not_there_is_refused(turnlog: Command) -> None:
    turnlog("start", "countdown", "2", "--id", "h4", "--wait")
    assert turnlog("history", "h4", "--execution", "2").out.startswith("h4, execution 2 of 3: completed\n")
    refused = (Exit.USAGE, "", "turnlog: expected an execution of 'h4' (1, 2, 3), but it is 9\n")
    assert turnlog("history", "h4", "--execution", "9") == refused
    assert turnlog("history", "h4", "--execution", "9", "--json") == refused


def test_a_latest_execution_without_events_does_not_send_people_to_itself(
    turnlog: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> tuple[()]:
        return ()

    turnlog("start", "welcome", '"Ann"', "--id", "h3", "--wait")
    monkeypatch.setattr("engine.client.Client.history", nothing)
    assert turnlog("history", "h3").err == "no events yet; `turnlog status h3` says how it stands\n"


def test_a_history_can_be_drawn(turnlog: Command, tmp_path: Path) -> None:
    turnlog("start", "welcome", '"Ann"', "--id", "h2", "--wait")
    file = tmp_path / "h2.svg"

    assert turnlog("history", "h2", "--svg", str(file)) == (Exit.OK, "", f"drawn in {file}\n")
    assert ">h2</text>" in file.read_text(encoding="utf-8")
    assert turnlog("history", "h2", "--svg", str(file), "--json").code == Exit.USAGE
    missing = turnlog("history", "h2", "--svg", str(tmp_path / "no" / "h2.svg"))
    assert (missing.code, missing.err.count("no such file or directory")) == (Exit.USAGE, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "nobody"),
        ("wait", "nobody"),
        ("history", "nobody"),
        ("event", "nobody", "x"),
        ("enqueue", "nobody", "x"),
        ("cancel", "nobody"),
        ("suspend", "nobody"),
        ("resume", "nobody"),
        ("tree", "nobody"),
        ("keys", "nobody"),
        ("delete", "nobody"),
        ("prune", "nobody", "--keep", "1"),
    ],
)
def test_an_instance_that_is_not_there_is_exit_3(
    turnlog: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("provider_log.cli.calling.APPEARS_S", 0.01)
    ran = turnlog(*arguments)
    assert (ran.code, ran.out) == (Exit.NOT_FOUND, "")
    assert ran.err.startswith("turnlog: expected an instance 'nobody', but there is none; `turnlog list` shows")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("start", "welcome", "Ann"), "turnlog: expected JSON (text goes in quotes: '\"text\"'), but 'Ann' is none"),
        (("start", "welcome", "@nowhere.json"), "turnlog: expected JSON in nowhere.json, but it cannot be read"),
        (("start", "welcome", "--id", ""), "turnlog: expected a non-empty instance id, but it is empty"),
        (("start", "welcome", "--id", "a::sub::1"), "it marks automatic children"),
        (("start", "welcome", "--timeout", "1"), "expected --wait with --timeout, but it is not there"),
        (("start", "welcome", "--if-exists", "replace"), "one of ignore, refuse, restart_ended, but it is 'replace'\n"),
        (("list", "--status", "tired"), "'--status': expected one of 'running', "),
        (("list", "--status", "tired"), ", but it is 'tired'\n"),
        (("list", "--limit", "0"), "'--limit': expected at least 1, but it is '0'\n"),
        (("prune", "a", "--keep", "many"), "'--keep': expected a whole number, but it is 'many'\n"),
        (("wait", "a", "--timeout", "abc"), "'--timeout': expected a number, but it is 'abc'\n"),
        (("wait", "a", "--timeout", "-1"), "'--timeout': expected at least 0, but it is '-1'\n"),
        (("dev", "kafka", "--brokers", "10"), "'--brokers': expected at most 9, but it is '10'\n"),
        (("event", "a"), "Missing argument 'NAME'"),
        (("fly",), "No such command 'fly'"),
        (("status", "a", "--url", "node:8620"), "turnlog: expected a URL like http://127.0.0.1:8620, but it is"),
    ],
)
def test_a_call_that_is_wrong_is_exit_2(turnlog: Command, arguments: tuple[str, ...], says: str) -> None:
    ran = turnlog(*arguments)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_no_node_is_exit_5_and_says_what_to_start(turnlog: Command) -> None:
    ran = turnlog("list", "--url", "http://127.0.0.1:9")
    assert (ran.code, ran.out) == (Exit.UNREACHABLE, "")
    assert ran.err == (
        "turnlog: expected a node at http://127.0.0.1:9, but nothing listens there; start one with `turnlog node`, "
        "or say where it is with --url or TURNLOG_URL\n"
    )


def test_the_help_says_which_of_two_ways_to_send_keeps_what_is_sent(turnlog: Command) -> None:
    said = "One that nobody waits for is dropped; --keep, or `enqueue`, keeps it."
    assert said in " ".join(turnlog("event", "--help").out.split())
    assert "it is kept until it is read" in " ".join(turnlog("enqueue", "--help").out.split())


def test_the_version_and_the_help_are_there(turnlog: Command) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", turnlog("--version").out)
    assert re.search(r" start +Start an orchestration\.", turnlog("--help").out)


def test_a_defect_shows_its_traceback(turnlog: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("provider_log.cli.calling.Node", broken)
    with pytest.raises(ZeroDivisionError):
        turnlog("status", "a")


async def test_a_held_instance_is_no_longer_waited_for() -> None:
    served = ServedMemory(SystemClock())
    await served.enqueue_for_orchestrator(StartOrchestration(instance="a", name="ship", input=NULL))
    item = await served.fetch_orchestration_item(1_000, 0)
    assert item is not None
    await served.hold_orchestration_item(item.lock_token, Failure(Category.NONDETERMINISM, "Nondeterminism", "moved"))
    async with RemoteProvider(transport=httpx.ASGITransport(create_app(served))) as provider:
        with pytest.raises(OrchestrationHeld, match=r"a is held: Nondeterminism: moved; .* `turnlog resume a`"):
            await Node(provider).ended("a", None)
        console = show.console()
        with console.capture() as shown:
            console.print(show.instance(await Node(provider).existing("a"), 0))
    assert re.search(r"next +fix the code, start the node with it, then `turnlog resume a`", shown.get())
