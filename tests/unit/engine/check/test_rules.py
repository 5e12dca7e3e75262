"""Does each rule say what trips it, on its line and no other, and nothing of what comes near?"""

import pytest

from engine.check.rules import RULES
from tests.unit.engine.check.near import PASSES
from tests.unit.engine.check.reading import marked, report, said
from tests.unit.engine.check.tripping import IMPORTS, TRIPS


def with_imports(text: str) -> str:
    assert text.startswith("\n")
    return IMPORTS + text


def test_every_rule_has_what_trips_it_and_what_comes_near() -> None:
    assert set(TRIPS) == set(PASSES) == set(RULES)


@pytest.mark.parametrize("code", TRIPS)
def test_what_trips_a_rule_is_found_where_it_is(code: str) -> None:
    text = with_imports(TRIPS[code])
    assert code in {found for _, found in marked(text)}
    assert sorted(said(text)) == marked(text)


@pytest.mark.parametrize("code", PASSES)
def test_what_comes_near_is_no_finding(code: str) -> None:
    assert report(with_imports(PASSES[code])).findings == ()


def test_nothing_outside_an_orchestration_is_looked_at() -> None:
    for text in TRIPS.values():
        plain = with_imports(text).replace("@orchestration\n", "").replace("@activity\n", "")
        assert {found.code for found in report(plain).findings} <= {"TL903", "TL901"}
