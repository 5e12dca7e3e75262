"""Is every partition placed, evenly, on a node that can run it, and does it stay where it is?"""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from provider_log.cluster.placement import Member, Placement, place


def member(node: str, partitions: tuple[int, ...] = (), refuses: tuple[int, ...] = ()) -> Member:
    return Member(node=node, partitions=partitions, refuses=refuses)


def test_partitions_are_spread_over_new_nodes() -> None:
    placed = place(8, [member("a"), member("b"), member("c")])
    assert sorted(placed) == list(range(8))
    assert sorted(Counter(placed.values()).values()) == [2, 3, 3]


def test_a_node_that_joins_gets_its_share_and_nothing_else_moves() -> None:
    before = {partition: "a" if partition < 4 else "b" for partition in range(8)}
    placed = place(8, [member("a", (0, 1, 2, 3)), member("b", (4, 5, 6, 7)), member("c")])
    moved = {partition for partition in range(8) if placed[partition] != before[partition]}
    assert {placed[partition] for partition in moved} == {"c"}
    assert len(moved) == 2


def test_the_partitions_of_a_node_that_left_go_to_the_others() -> None:
    placed = place(8, [member("a", (0, 1, 2)), member("b", (3, 4, 5))])
    assert {placed[partition] for partition in (0, 1, 2)} == {"a"}
    assert {placed[partition] for partition in (3, 4, 5)} == {"b"}
    assert Counter(placed.values()) == {"a": 4, "b": 4}


def test_a_partition_that_two_claim_has_one_node() -> None:
    assert place(2, [member("a", (0, 1)), member("b", (0, 1))]) == {0: "a", 1: "b"}


def test_a_partition_that_a_node_refuses_is_another_ones() -> None:
    assert place(2, [member("a", (0, 1), refuses=(0, 1)), member("b")]) == {0: "b", 1: "b"}


def test_a_partition_that_all_refuse_has_no_node() -> None:
    assert place(2, [member("a", refuses=(1,)), member("b", refuses=(1,))]) == {0: "a"}


def test_nobody_is_there() -> None:
    assert place(3, []) == {}


def test_what_a_node_has_in_a_placement() -> None:
    placement = Placement(generation=3, nodes=("a", "b"), partitions={0: "a", 1: "b", 2: "a"})
    assert placement.of("a") == {0, 2}
    assert placement.of("c") == frozenset()


PARTITIONS = st.lists(st.integers(0, 19), max_size=20, unique=True).map(tuple)
MEMBERS = st.lists(
    st.tuples(st.sampled_from("abcdef"), PARTITIONS, st.one_of(st.just(()), PARTITIONS)),
    max_size=6,
    unique_by=lambda one: one[0],
).map(lambda ones: [Member(node=node, partitions=held, refuses=refuses) for node, held, refuses in ones])


@given(count=st.integers(0, 16), members=MEMBERS)
def test_whatever_they_say(count: int, members: list[Member]) -> None:
    placed = place(count, members)
    assert placed == place(count, list(reversed(members))), "expected the same of every leader"
    able = {node.node: set(range(count)) - set(node.refuses) for node in members}
    assert set(placed) == {partition for partition in range(count) if any(partition in can for can in able.values())}
    assert all(partition in able[node] for partition, node in placed.items())
    loads = Counter(placed.values())
    for partition, node in placed.items():
        others = [other for other, can in able.items() if partition in can]
        assert all(loads[node] - loads[other] < 2 for other in others), "expected no move that evens the load"


@given(count=st.integers(1, 16), members=MEMBERS)
def test_what_is_placed_stays_placed(count: int, members: list[Member]) -> None:
    placed = place(count, members)
    placement = Placement(generation=1, nodes=(), partitions=placed)
    told = [
        Member(node=one.node, partitions=tuple(sorted(placement.of(one.node))), refuses=one.refuses) for one in members
    ]
    assert place(count, told) == placed
