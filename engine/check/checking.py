"""What is wrong with the orchestrations of some modules? Every rule on everything that runs in them, once."""

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from engine.check import calls, flow, order
from engine.check.ignores import Ignore, ignores
from engine.check.program import Find, Place, Program
from engine.check.rules import RULES, Finding, Seen
from engine.check.sources import Function, Module, SourceText
from engine.check.state import Globals

RuleCode = Callable[[ast.AST, Place], Iterator[Seen]]


class Report(Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        modules: How many were to be checked.
        orchestrations: How many there are in them.
        functions: How many functions run in those, themselves among them.
        findings: In order of path and place.
    """

    modules: int
    orchestrations: int
    functions: int
    findings: tuple[Finding, ...]


def check(targets: Sequence[SourceText], find: Find) -> Report:
    """Hold the orchestrations of `targets`, and what they call, to every rule.

    Args:
        targets: Modules to check.
        find: The text of other modules of theirs, by dotted name.

    Raises:
        NotPython: A target does not parse.
    """
    program = Program(targets, find)
    variables = Globals(program.resolver)
    rules: list[RuleCode] = [
        calls.outside, calls.loop, order.iteration, order.identity, variables.changed, variables.read,
        flow.swallowed, flow.dropped, flow.called_activity,
    ]  # fmt: skip
    findings: dict[tuple[str, int, int, str], Finding] = {}
    comments = {module: list(ignores(module.source.text)) for module in program.targets}
    reached: set[Function] = set()
    for place in program.places():
        reached.add(place.function)
        if place.module not in comments:
            comments[place.module] = list(ignores(place.module.source.text))
        for found in _findings(place, rules, comments[place.module]):
            findings.setdefault((found.path, found.line, found.column, found.code), found)
    for module in program.targets:
        for found in _about_comments(module, comments[module], reached, program):
            findings[found.path, found.line, found.column, found.code] = found
    return Report(
        modules=len(targets),
        orchestrations=sum(1 for _ in program.orchestrations()),
        functions=len(reached),
        findings=tuple(findings[key] for key in sorted(findings)),
    )


def together(reports: Iterable[Report]) -> Report:
    """Several as one."""
    every = list(reports)
    # What several of them call is in each of them.
    findings = {(each.path, each.line, each.column, each.code): each for report in every for each in report.findings}
    return Report(
        modules=sum(report.modules for report in every),
        orchestrations=sum(report.orchestrations for report in every),
        functions=sum(report.functions for report in every),
        findings=tuple(findings[key] for key in sorted(findings)),
    )


def _findings(place: Place, rules: Sequence[RuleCode], silencers: Sequence[Ignore]) -> Iterator[Finding]:
    globals_read: set[str] = set()
    for node in place.nodes():
        for rule in rules:
            for seen in rule(node, place):
                if any(_silenced(seen, each, place) for each in silencers):
                    continue
                if seen.code == "TL304" and seen.subject in globals_read:
                    continue
                globals_read.add(seen.subject)
                yield _finding(seen, place)


def _silenced(seen: Seen, comment: Ignore, place: Place) -> bool:
    first = getattr(seen.node, "lineno", 0)
    last = getattr(seen.node, "end_lineno", first) if isinstance(seen.node, ast.expr) else first
    if comment.silences(seen.code, first, last):
        return True
    # Formatters put a comment behind the last bracket.
    end = _end_of_statement(seen.node, place)
    return end is not None and comment.silences(seen.code, end, end)


def _end_of_statement(node: ast.AST, place: Place) -> int | None:
    """Last line of the statement around an expression, if it has no body."""
    while isinstance(node, (ast.expr, ast.keyword)):
        node = place.parent(node)
    return node.end_lineno if isinstance(node, ast.stmt) and not hasattr(node, "body") else None


def _finding(seen: Seen, place: Place) -> Finding:
    is_called = place.resolver.role(place.function) != "orchestration"
    where = f", in {place.function.name}, called by orchestration {place.orchestration}" if is_called else ""
    return Finding(
        path=place.module.source.path,
        line=getattr(seen.node, "lineno", 1),
        column=getattr(seen.node, "col_offset", 0) + 1,
        code=seen.code,
        message=seen.message + where,
        instead=seen.instead or RULES[seen.code].instead,
        orchestration=place.orchestration,
    )


def _about_comments(
    module: Module, comments: Sequence[Ignore], reached: set[Function], program: Program
) -> Iterator[Finding]:
    for comment in comments:
        for code, subject in _faults(module, comment, reached, program):
            rule = RULES[code]
            yield Finding(
                path=module.source.path,
                line=comment.line,
                column=comment.column,
                code=code,
                message=f"{subject} {rule.says}",
                instead=rule.instead,
            )


def _faults(module: Module, comment: Ignore, reached: set[Function], program: Program) -> Iterator[tuple[str, str]]:
    if comment.unknown:
        yield "TL903", "this ignore"
        return
    if not comment.reason:
        yield "TL901", "this ignore"
    unused = [code for code in comment.codes if code not in comment.used]
    if unused and _is_decided(module, comment.covers, reached, program):
        yield "TL902", f"the ignore of {', '.join(unused)}"


def _is_decided(module: Module, line: int, reached: set[Function], program: Program) -> bool:
    """Whether what is on that line was read, or runs in no orchestration; a function may be called from elsewhere."""
    around = [each for each in module.functions if each.node.lineno <= line <= (each.node.end_lineno or 0)]
    return not around or any(each in reached or program.resolver.role(each) == "activity" for each in around)
