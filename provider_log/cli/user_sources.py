"""Where is the text of what a user wants checked? Files, directories and modules; nothing is imported.

A module belongs to the directory above its outermost package, as `sys.path` would have it; what it imports is looked
up there, and in the working directory if that is above. What is installed elsewhere is not the user's to correct.
"""

import importlib.util
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.check.sources import SourceText
from engine.errors import UsageError

NOT_ENTERED = frozenset({"__pycache__", "node_modules", "site-packages"})
ENVIRONMENT = "pyvenv.cfg"
PACKAGE = "__init__.py"


class Root:
    """A directory that modules are imported from.

    Attributes:
        targets: Modules in it that were asked for, by path.
    """

    def __init__(self, directory: Path, working_directory: Path) -> None:
        above = directory.resolve().is_relative_to(working_directory.resolve())
        self._places = [directory, *([working_directory] if above else [])]
        self.targets: dict[Path, SourceText] = {}

    def find(self, name: str) -> SourceText | None:
        """The text of a module by its dotted name, if it is here and can be read."""
        for place in self._places:
            base = place.joinpath(*name.split("."))
            for path in (base.with_name(base.name + ".py"), base / PACKAGE):
                if path.is_file():
                    try:
                        return source_text(name, _shortened(path, self._places[-1]))
                    except UsageError:
                        return None  # whoever imports it will hear of that
        return None


def roots(arguments: Iterable[str], working_directory: Path) -> list[Root]:
    """All that the arguments name, by the directory it is imported from.

    Raises:
        UsageError: There is no such file, directory or module, or nothing in it.
    """
    found: dict[Path, Root] = {}
    for argument in arguments:
        for path in _files(argument, working_directory):
            directory, name = _place_of(path)
            key = directory.resolve()
            root = found.setdefault(key, Root(directory, working_directory))
            if path.resolve() not in root.targets:
                root.targets[path.resolve()] = source_text(name, path)
    return list(found.values())


def source_text(name: str, path: Path) -> SourceText:
    """The text of a file, in the encoding that it names.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        with tokenize.open(path) as file:
            text = file.read()
    except OSError as error:
        raise UsageError(f"expected to read {path}, but {error.strerror}") from None
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UsageError(f"expected Python in {path}, but {error}") from None
    return SourceText(name, str(path), text, is_package=path.name == PACKAGE)


def _files(argument: str, working_directory: Path) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        found = list(_python_files(path))
        if not found:
            raise UsageError(f"expected Python files in {argument}, but there is none")
        return found
    if path.is_file():
        return [path]
    module = argument.partition(":")[0]  # of `--app-module fleet:registry` the first half
    if argument.endswith(".py") or not all(part.isidentifier() for part in module.split(".")):
        raise UsageError(f"expected a file, a directory or a module, but there is no {argument}")
    return _files_of_module(module, working_directory)


def _files_of_module(module: str, working_directory: Path) -> list[Path]:
    for place in _search_path(module.partition(".")[0], working_directory):
        base = place.joinpath(*module.split("."))
        if (base / PACKAGE).is_file():
            return [_shortened(path, working_directory) for path in _python_files(base)]
        if (file := base.with_name(base.name + ".py")).is_file():
            return [_shortened(file, working_directory)]
    raise UsageError(f"expected a module {module!r} in {working_directory}, but there is none")


def _search_path(package: str, working_directory: Path) -> Iterator[Path]:
    """Directories that the outermost package may be in; to find it imports nothing."""
    yield working_directory
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:
        return
    if spec is not None and spec.submodule_search_locations is not None:
        yield from (Path(location).parent for location in spec.submodule_search_locations)
    elif spec is not None and spec.origin is not None and spec.has_location:
        yield Path(spec.origin).parent


def _python_files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if path.name.startswith("."):
            continue  # editors keep locks and such there
        if path.is_dir():
            # A link may lead back to where we are.
            if not path.is_symlink() and path.name not in NOT_ENTERED and not (path / ENVIRONMENT).exists():
                yield from _python_files(path)
        elif path.suffix == ".py" and path.is_file():
            yield path


def _place_of(path: Path) -> tuple[Path, str]:
    """The directory that a file is imported from, and under which name."""
    parts = [] if path.name == PACKAGE else [path.stem]
    directory = path.parent
    while (directory / PACKAGE).is_file():
        parts.insert(0, directory.resolve().name)
        directory = directory / ".." if directory.name in {"", ".."} else directory.parent
    return directory, ".".join(parts) or path.stem


def _shortened(path: Path, working_directory: Path) -> Path:
    return path.relative_to(working_directory) if path.is_relative_to(working_directory) else path
