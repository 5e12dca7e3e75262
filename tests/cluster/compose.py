"""What do deploy/compose.yaml and its Dockerfile say? Read as data, with addresses and secrets of this machine."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


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


def copied_in(dockerfile: str) -> list[tuple[str, str]]:
    """What a Dockerfile takes from its context, and where it puts that."""
    lines = re.findall(r"^COPY (?!--from)(.*) (\S+)$", dockerfile, re.MULTILINE)
    return [(source, target) for sources, target in lines for source in sources.split()]
