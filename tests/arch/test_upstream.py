"""Does docs/upstream.md say what is so: of each test of upstream where its counterpart is, or why it has none?"""

from pathlib import Path

import pytest

from tests.upstream import known, names, upstream
from tests.upstream.marks import Counterpart, counterparts, in_text
from tests.upstream.page import page
from tests.upstream.reasons import REASONS

PAGE = Path(__file__).parents[2] / "docs" / "upstream.md"

MARKED = """
@upstream("replay_engine/kv", "kv_get_value_same_turn", "new_kv_events_after_replay")
@upstream("replay_engine/cancellation", "cancel_in_history", differs="It goes on.")
async def test_ours() -> None:
    inner()


def test_without_a_mark() -> None:
    upstream("replay_engine/kv", "replay_kv_no_token_binding")
"""


def test_the_page_is_what_the_marks_and_the_reasons_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "make it anew: python -m tests.upstream > docs/upstream.md"


def test_the_list_has_every_test_once() -> None:
    every = [name for of_file in names().values() for name in of_file]
    assert len(every) == len(known()) == 1146


def test_a_mark_with_a_name_that_upstream_does_not_have_is_refused_where_it_is_put() -> None:
    with pytest.raises(ValueError, match=r"names.tsv has no replay_engine/kv::nothing"):
        upstream("replay_engine/kv", "kv_get_value_same_turn", "nothing")


def test_names_that_are_not_in_the_list_have_no_counterpart_and_no_reason() -> None:
    assert set(counterparts()) <= known()
    assert {name for of_reason in REASONS.values() for name in of_reason} <= known()


def test_what_has_a_counterpart_has_no_reason_and_nothing_has_two() -> None:
    with_a_reason = [name for of_reason in REASONS.values() for name in of_reason]
    assert set(with_a_reason) & set(counterparts()) == set()
    assert sorted(with_a_reason) == sorted(set(with_a_reason))


def test_a_reason_and_a_difference_are_sentences() -> None:
    differences = {one.differs for of_name in counterparts().values() for one in of_name}
    for sentence in (differences - {""}) | set(REASONS):
        assert sentence[0].isupper(), sentence
        assert sentence.endswith("."), sentence
        assert "|" not in sentence, sentence


def test_marks_are_read_from_the_text() -> None:
    assert list(in_text("tests/a.py", MARKED)) == [
        ("replay_engine/kv::kv_get_value_same_turn", Counterpart("tests/a.py", "test_ours")),
        ("replay_engine/kv::new_kv_events_after_replay", Counterpart("tests/a.py", "test_ours")),
        ("replay_engine/cancellation::cancel_in_history", Counterpart("tests/a.py", "test_ours", "It goes on.")),
    ]
