"""Where does a setting come from? A flag, else the environment, else `turnlog.toml` here, else its default."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from engine.errors import UsageError

FILE = "turnlog.toml"
PREFIX = "TURNLOG_"
DEFAULT = "default"


class Settings(Struct, frozen=True, kw_only=True):
    """What the command runs with. The description of each is also its help."""

    url: Annotated[str, Meta(description="Where the node answers.")] = "http://127.0.0.1:8620"
    token: Annotated[str | None, Meta(description="What callers of the node must know; no flag, flags show in ps.")] = (
        None
    )
    data: Annotated[str, Meta(description="Directory of the node's log and stores.")] = "turnlog-data"
    app: Annotated[str, Meta(description="Name of the application the data belongs to.")] = "turnlog"
    app_module: Annotated[str | None, Meta(description="What to serve: module:registry, found from here.")] = None
    listen: Annotated[str, Meta(description="Where to listen; beyond loopback it takes a token.")] = "127.0.0.1:8620"
    partitions: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | None,
        Meta(description="Partitions of new data; fixed from then on. Left out: what the data has, or 1."),
    ] = None
    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$", description="What is logged to stderr.")] = (
        "warning"
    )
    log_json: Annotated[bool, Meta(description="Log as one JSON object a line.")] = False


SECRET = frozenset({"token"})


class Sourced(NamedTuple):
    """A value, and which flag, variable or file said it."""

    value: object
    source: str


class Resolved(NamedTuple):
    """Settings, and of each where it came from."""

    settings: Settings
    sources: Mapping[str, str]

    def shown(self) -> list[tuple[str, str, str]]:
        """Name, value and source of each setting; of a secret only that it is set."""
        rows: list[tuple[str, str, str]] = []
        for name in self.settings.__struct_fields__:
            value = getattr(self.settings, name)
            text = "" if value is None else "(set)" if name in SECRET else str(value)
            rows.append((name, text, self.sources[name]))
        return rows


def resolve(flags: Mapping[str, object | None], environment: Mapping[str, str], directory: Path) -> Resolved:
    """Settings from `flags` (None where not given), `environment` and the file in `directory`.

    Raises:
        UsageError: A variable or a key of the file is none of ours, or a value does not fit.
    """
    layers = [
        {name: Sourced(value, _flag(name)) for name, value in flags.items() if value is not None},
        _from_environment(environment),
        _from_file(directory / FILE),
    ]
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for field in msgspec.structs.fields(Settings):
        found = next((layer[field.name] for layer in layers if field.name in layer), None)
        sources[field.name] = found.source if found else DEFAULT
        if found:
            values[field.name] = _fitting(field.name, field.type, found)
    return Resolved(Settings(**values), sources)  # pyright: ignore[reportArgumentType] - each is checked by `_fitting`


def _from_environment(environment: Mapping[str, str]) -> dict[str, Sourced]:
    given = {name: Sourced(value, name) for name, value in environment.items() if name.startswith(PREFIX)}
    return _known({name.removeprefix(PREFIX).lower(): each for name, each in given.items()})


def _from_file(path: Path) -> dict[str, Sourced]:
    try:
        with path.open("rb") as file:
            given = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"expected settings in {path.name}, but it cannot be read: {error}") from None
    return _known({name: Sourced(value, f"{name} in {path.name}") for name, value in given.items()})


def _known(given: dict[str, Sourced]) -> dict[str, Sourced]:
    for name, each in given.items():
        if name not in Settings.__struct_fields__:
            raise UsageError(f"expected a setting ({', '.join(Settings.__struct_fields__)}), but {each.source} is none")
    return given


def _fitting(name: str, kind: object, found: Sourced) -> object:
    try:
        # Text is what a variable can hold; a file has types, and is held to them.
        return msgspec.convert(found.value, kind, strict=not isinstance(found.value, str))
    except msgspec.ValidationError as error:
        shown = "(not shown)" if name in SECRET else repr(found.value)
        raise UsageError(f"expected {name} to fit, but {found.source} is {shown}: {error}") from None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
