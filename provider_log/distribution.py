"""Are the packages beside this one ours? `engine` and `schemas` are common names, and a folder of yours may be first.

Importing this module checks once. It is the first import of the package, because a foreign `engine` would fail later
with an error that names neither of them.
"""

import importlib
from types import ModuleType

DISTRIBUTION = "turnlog"
NEIGHBOURS = ("engine", "schemas")


def problem_with(module: ModuleType) -> str | None:
    """Why `module` is not the one of our distribution, or None if it is."""
    if getattr(module, "DISTRIBUTION", None) == DISTRIBUTION:
        return None
    place = module.__file__ or ", ".join(module.__path__)
    return (
        f"expected the package {module.__name__!r} of {DISTRIBUTION}, but Python found {place}: "
        "rename that folder or move it off the front of sys.path"
    )


for _name in NEIGHBOURS:
    _problem = problem_with(importlib.import_module(_name))
    if _problem is not None:
        raise ImportError(_problem)
