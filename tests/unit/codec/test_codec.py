"""Does every value come back as it was, and does no input do harm?"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.codec.values import CODECS, values


@pytest.mark.parametrize("kind", CODECS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_value_comes_back_as_it_was(kind: Any, data: st.DataObject) -> None:
    encode, decode = CODECS[kind]
    value = data.draw(values(kind))

    assert decode(encode(value)) == value
