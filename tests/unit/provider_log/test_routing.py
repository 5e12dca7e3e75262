"""Is an instance where every other Kafka producer would put it?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_log.routing import murmur2, partition_of, root_of

VECTORS = {
    # From Kafka's own UtilsTest.testMurmur2; "abc" from its producer's partitions.
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("text", "signed"), VECTORS.items())
def test_the_hash_is_kafkas(text: str, signed: int) -> None:
    assert murmur2(text.encode()) == signed & 0xFFFFFFFF


@pytest.mark.parametrize(("text", "signed"), VECTORS.items())
def test_the_partition_is_that_of_kafkas_default_partitioner(text: str, signed: int) -> None:
    assert partition_of(text, 12) == (signed & 0x7FFFFFFF) % 12


def test_a_tree_lives_with_its_root() -> None:
    assert root_of("order::sub::3::sub::4") == "order"
    assert partition_of("order::sub::3::sub::4", 64) == partition_of("order", 64)


@given(st.text(), st.integers(1, 1_000))
def test_every_id_has_a_partition(instance: str, partitions: int) -> None:
    try:
        instance.encode()
    except UnicodeEncodeError:
        return
    assert 0 <= partition_of(instance, partitions) < partitions


@pytest.mark.parametrize("length", range(9))
def test_bytes_after_the_last_whole_word_count(length: int) -> None:
    data = bytes(range(1, length + 1))
    assert murmur2(data) != murmur2(data + b"\x00")
