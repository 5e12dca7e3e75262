"""What does deploy/compose.yaml say? Read as data, and moved to this machine: its addresses, paths and secrets."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"


class Healthcheck(Struct):
    """How a service is asked whether it is well."""

    test: list[str]


class Service(Struct):
    """A service, as far as the tests look."""

    image: str
    command: list[str] = []
    environment: dict[str, str | int] = {}
    volumes: list[str] = []
    healthcheck: Healthcheck | None = None
    stop_grace_period: str = "10s"

    @property
    def patience_s(self) -> int:
        """How long it may take to stop."""
        return int(self.stop_grace_period.removesuffix("s"))


class Compose(Struct):
    """The whole file."""

    services: dict[str, Service]

    @classmethod
    def read(cls, moved: Mapping[str, str] | None = None) -> "Compose":
        """The file, with each text that `moved` names replaced, and every variable that must be given."""
        text = COMPOSE.read_text(encoding="utf-8")
        for old, new in (moved or {}).items():
            assert old in text, f"expected {old!r} in the compose file, to put {new!r} in its place"
            text = text.replace(old, new)
        return msgspec.yaml.decode(re.sub(r"\$\{[A-Z_]+:\?[^}]*\}", "given", text), type=cls)
