"""Is what users import there, also what comes with its first use only?"""

from operator import attrgetter
from types import ModuleType

import pytest

import engine.testing
import provider_log
import schemas


@pytest.mark.parametrize("package", [provider_log, engine.testing, schemas], ids=lambda package: package.__name__)
def test_every_public_name_is_there(package: ModuleType) -> None:
    missing = [name for name in getattr(package, "__all__", ()) if not hasattr(package, name)]
    assert missing == []


def test_a_name_that_is_not_there_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'provider_log' has no attribute 'Provider'"):
        attrgetter("Provider")(provider_log)
