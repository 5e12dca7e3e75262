"""Where is the code to run? `module:registry`, imported from the working directory, every failure one sentence."""

import importlib
import os
import sys
import traceback
from pathlib import Path

from engine.errors import UsageError
from engine.registry import Registry

FORM = "module:registry, say fleet:registry for the name `registry` in fleet.py"


SEED = "PYTHONHASHSEED"


def fix_hash_seed() -> None:
    """Start again with a fixed seed, so that sets of text have one order in every process that replays."""
    if SEED not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, SEED: "0"})


def load_registry(text: str, directory: Path) -> Registry:
    """The registry that `text` names.

    `directory` goes to the end of the search path: a folder of the user's that happens to be called `schemas` must
    not stand in front of ours.

    Raises:
        UsageError: The module cannot be imported, or has no registry of that name.
    """
    module_name, colon, name = text.partition(":")
    parts = module_name.split(".")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in parts) and parts[-1] != "py"):
        raise UsageError(f"expected {FORM}, but it is {text!r}")
    if str(directory) not in sys.path:
        sys.path.append(str(directory))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            raise UsageError(f"expected a module {module_name!r} in {directory}, but there is none") from None
        raise UsageError(f"expected to import {module_name!r}, but {_where(error, directory)}{error}") from None
    except Exception as error:
        raise UsageError(f"expected to import {module_name!r}, but {_where(error, directory)}{_said(error)}") from None
    except SystemExit:
        raise UsageError(f"expected to import {module_name!r}, but it ended the process instead") from None
    return _registry_in(vars(module), module_name, name)


def _registry_in(names: dict[str, object], module_name: str, name: str) -> Registry:
    found = names.get(name)
    if isinstance(found, Registry):
        return found
    others = sorted(key for key, value in names.items() if isinstance(value, Registry))
    what = f"it is a {type(found).__name__}" if name in names else "there is no such name"
    hint = f"; did you mean {module_name}:{others[0]}?" if others else "; make one with engine.Registry(…)"
    raise UsageError(f"expected a Registry called {name!r} in module {module_name}, but {what}{hint}")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _where(error: Exception, directory: Path) -> str:
    """The line of the user's that failed: the innermost one in a file of theirs, else the innermost of all."""
    if isinstance(error, SyntaxError):
        return ""  # it names its own file and line
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)[1:] if "importlib" not in frame.filename]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(directory)]
    if not (frames := own or frames):
        return ""
    return f"at {Path(frames[-1].filename).name}:{frames[-1].lineno}: "
