"""Where does a setting come from? A flag, else the environment, else `turnlog.toml` here, else its default."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, cast

import msgspec
from msgspec import Meta, Struct

from engine.errors import UsageError
from engine.model.tags import DEFAULT_ONLY, TagFilter

if TYPE_CHECKING:
    from provider_log.log.kafka import ClientSettings

FILE = "turnlog.toml"
PREFIX = "TURNLOG_"
DEFAULT = "default"
KAFKA = "kafka"
"""The log that is no directory, and the table of the file that says how to be let in."""
KAFKA_ = KAFKA + "_"
UNTAGGED, ANY_TAG, NO_TAG = "default", "any", "none"
"""What stands in `worker_tags` for activities without a tag, for all, and for none at all."""


class Settings(Struct, frozen=True, kw_only=True):
    """What the command runs with. The description of each is also its help."""

    url: Annotated[str, Meta(description="Where the node answers.")] = "http://127.0.0.1:8620"
    token: Annotated[str | None, Meta(description="What callers of the node must know; no flag, flags show in ps.")] = (
        None
    )
    log: Annotated[Literal["embedded", "kafka"], Meta(description="Where the truth is: in `data`, or on Kafka.")] = (
        "embedded"
    )
    bootstrap: Annotated[str | None, Meta(description="Brokers to begin with, host:port, commas between them.")] = None
    kafka_client_id: Annotated[str | None, Meta(description="Name in the brokers' logs.")] = None
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] | None,
        Meta(description="How the connection is kept; left out: neither encrypted nor named."),
    ] = None
    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None, Meta(description="How to say who one is.")
    ] = None
    kafka_sasl_plain_username: Annotated[str | None, Meta(description="Who one is.")] = None
    kafka_sasl_plain_password: Annotated[str | None, Meta(description="What only that one knows; no flag.")] = None
    kafka_ssl_cafile: Annotated[str | None, Meta(description="Certificates that sign the brokers', PEM.")] = None
    kafka_ssl_certfile: Annotated[str | None, Meta(description="One's own certificate, PEM.")] = None
    kafka_ssl_keyfile: Annotated[str | None, Meta(description="Its key, PEM.")] = None
    kafka_ssl_password: Annotated[str | None, Meta(description="Of that key; no flag.")] = None
    kafka_ssl_check_hostname: Annotated[
        bool | None, Meta(description="Whether a broker's certificate must name its host; left out: yes.")
    ] = None
    data: Annotated[str, Meta(description="Directory of the stores, and of an embedded log.")] = "turnlog-data"
    app: Annotated[str, Meta(description="Name of the application the data belongs to.")] = "turnlog"
    app_module: Annotated[str | None, Meta(description="What to serve: module:registry, found from here.")] = None
    listen: Annotated[str, Meta(description="Where to listen; beyond loopback it takes a token.")] = "127.0.0.1:8620"
    advertise: Annotated[
        str | None, Meta(description="Where other nodes reach this one, host:port; left out: where it listens.")
    ] = None
    session_ms: Annotated[
        Annotated[int, Meta(ge=1_000, le=300_000)],
        Meta(description="A node of a cluster that gives no sign for so long loses its partitions; on Kafka alone."),
    ] = 10_000
    topic_tags: Annotated[
        str | None,
        Meta(description="Tags of activities that plain consumers of the worker topic serve, commas between them."),
    ] = None
    worker_tags: Annotated[
        str | None,
        Meta(
            description="Which activities to take: `default` for those without a tag, and tags, commas between them; "
            "or `any`, or `none`. Left out: default."
        ),
    ] = None
    max_sessions: Annotated[
        Annotated[int, Meta(ge=0, le=100_000)],
        Meta(description="Sessions of which activities are under way at once on this node; 0: it takes none."),
    ] = 10
    worker_node_id: Annotated[
        str | None, Meta(description="Who holds this node's sessions; left out: a name is made up at each start.")
    ] = None
    schema_registry: Annotated[
        str | None, Meta(description="URL of a schema registry, for input that names its schema by an id there.")
    ] = None
    partitions: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | None,
        Meta(description="Partitions of new data; fixed from then on. Left out: what the data has, or 1."),
    ] = None
    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$", description="What is logged to stderr.")] = (
        "warning"
    )
    log_json: Annotated[bool, Meta(description="Log as one JSON object a line.")] = False

    def tags(self) -> frozenset[str]:
        """Of activities that no node serves."""
        return _words(self.topic_tags)

    def served(self) -> TagFilter:
        """Which activities this node takes.

        Raises:
            UsageError: The tags are too many or too long, or one is left to others.
        """
        words = _words(self.worker_tags)
        if not words:
            return DEFAULT_ONLY
        for word, meant in ((ANY_TAG, TagFilter.everything()), (NO_TAG, TagFilter.nothing())):
            if word in words:
                if len(words) > 1:
                    raise UsageError(f"expected {word} to stand alone in worker_tags, but it is {self.worker_tags!r}")
                return meant
        if others := sorted(words & self.tags()):
            raise UsageError(f"expected each tag in worker_tags or in topic_tags, but in both are {', '.join(others)}")
        return TagFilter.default_and(words - {UNTAGGED}) if UNTAGGED in words else TagFilter.only(words)

    def client(self) -> "ClientSettings":
        """How to be let in by the brokers."""
        given = {name.removeprefix(KAFKA_): getattr(self, name) for name in KAFKA_NAMES if name.startswith(KAFKA_)}
        return cast("ClientSettings", {name: value for name, value in given.items() if value is not None})


def _words(text: str | None) -> frozenset[str]:
    return frozenset(word.strip() for word in (text or "").split(",") if word.strip())


KAFKA_NAMES = tuple(name for name in Settings.__struct_fields__ if name == "bootstrap" or name.startswith(KAFKA_))
SECRET = frozenset({"token", "kafka_sasl_plain_password", "kafka_ssl_password"})


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

    def for_log(self) -> Settings:
        """The settings, for a command that opens the log.

        Raises:
            UsageError: What they say of it does not fit together.
        """
        settings, sources = self
        if settings.log == KAFKA:
            if settings.bootstrap is None:
                raise UsageError(
                    "expected --bootstrap HOST:PORT, which says where brokers answer, with a log on Kafka, but there "
                    "is none; `turnlog dev kafka` runs one here"
                )
            return settings
        # Who says where brokers are means them, unless who speaks after them says embedded.
        for source in (sources[name] for name in KAFKA_NAMES):
            if source != DEFAULT and _rank(source) <= _rank(sources["log"]):
                raise UsageError(f"expected --log {KAFKA} (or {PREFIX}LOG={KAFKA}) with {source}, but it is embedded")
        return settings


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
    table = given.pop(KAFKA, {})
    if not isinstance(table, dict):
        raise UsageError(f"expected [{KAFKA}] to be a table in {path.name}, but it is {table!r}")
    if flat := next((name for name in given if name.startswith(KAFKA_)), None):
        raise UsageError(
            f"expected {flat.removeprefix(KAFKA_)} under [{KAFKA}] in {path.name}, but {flat} stands alone"
        )
    found = {name: Sourced(value, f"{name} in {path.name}") for name, value in given.items()}
    for name, value in cast("dict[str, object]", table).items():
        found[KAFKA_ + name] = Sourced(value, f"{name} of [{KAFKA}] in {path.name}")
    return _known(found)


def _rank(source: str) -> int:
    """Who speaks after whom: 0 has the last word."""
    if source == DEFAULT:
        return 3
    return 0 if source.startswith("--") else 2 if source.endswith(FILE) else 1


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
