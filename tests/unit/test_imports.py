"""Does every module import on this Python, with every warning an error?"""

import importlib
import pkgutil

import pytest

import engine
import provider_log
import schemas

MODULES = [
    module.name
    for package in (engine, provider_log, schemas)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if not module.name.endswith(".__main__")
]


def test_the_list_of_modules_is_not_empty() -> None:
    assert {"engine.model", "provider_log.log"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_without_a_warning(name: str) -> None:
    assert importlib.import_module(name).__doc__
