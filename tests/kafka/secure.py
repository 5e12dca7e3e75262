"""What is a broker that does not let everybody in? Certificates, a user, and a listener of each security protocol."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec import Struct

from provider_log.dev.broker import Broker, Extra, java, running_broker
from provider_log.log.kafka import ClientSettings

PROTOCOLS = ("SSL", "SASL_SSL", "SASL_PLAINTEXT")
_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_USER, _PASSWORD, _KEY_PASSWORD = "ada", "lovelace-1815", "analytical"
LEAVER = "bob"
"""Somebody else, with the same password, whom a test may let in no more."""

_FORGETTING = ("kafka.admin.ConfigCommand", "--alter", "--entity-type", "users", "--delete-config", "SCRAM-SHA-512")

_PROPERTIES = """\
ssl.keystore.type=PEM
ssl.keystore.location={directory}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={directory}/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
"""
_MODULE = "listener.name.{}.{}.sasl.jaas.config=org.apache.kafka.common.security.{} required{};\n"


class SecureBroker(Struct, frozen=True):
    """A broker, and what lets a client in.

    Attributes:
        broker: It.
        directory: `ca.pem`, the authority of the broker's certificate; `stranger.pem`, another one; `client.pem` and
            `client-key.pem`, which has a password.
    """

    broker: Broker
    directory: Path

    def file(self, name: str) -> str:
        """Path of a file."""
        return str(self.directory / name)

    def tls(self) -> ClientSettings:
        """For the listener that asks for a certificate."""
        return {
            "security_protocol": "SSL",
            "ssl_cafile": self.file("ca.pem"),
            "ssl_certfile": self.file("client.pem"),
            "ssl_keyfile": self.file("client-key.pem"),
            "ssl_password": _KEY_PASSWORD,
        }

    def scram(self) -> ClientSettings:
        """For the encrypted listener that asks for a name and a password."""
        return {
            "security_protocol": "SASL_SSL",
            "ssl_cafile": self.file("ca.pem"),
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": _USER,
            "sasl_plain_password": _PASSWORD,
        }

    def forget(self, user: str) -> None:
        """Let `user` in no more."""
        asked = (*_FORGETTING, "--entity-name", user, "--bootstrap-server", self.broker.bootstrap)
        subprocess.run(java().command(*asked), cwd=self.directory, check=True, capture_output=True)


@contextmanager
def secure_broker(directory: Path) -> Generator[SecureBroker]:
    """One whose files are in `directory`."""
    _write_certificates(directory)
    lines = _PROPERTIES.format(directory=directory)
    for listener in ("sasl_ssl", "sasl_plaintext"):
        user = f' user_{_USER}="{_PASSWORD}"'
        lines += _MODULE.format(listener, "plain", "plain.PlainLoginModule", user)
        for mechanism in _MECHANISMS:
            lines += _MODULE.format(listener, mechanism.lower(), "scram.ScramLoginModule", "")
    users = [(_USER, mechanism) for mechanism in _MECHANISMS] + [(LEAVER, "SCRAM-SHA-512")]
    arguments = tuple(
        argument
        for user, mechanism in users
        for argument in ("--add-scram", f"{mechanism}=[name={user},password={_PASSWORD}]")
    )
    with running_broker(Extra(listeners=PROTOCOLS, properties=lines, format_arguments=arguments)) as broker:
        yield SecureBroker(broker, directory)


def _write_certificates(directory: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    trustme.CA().cert_pem.write_to_path(directory / "stranger.pem")
    broker = authority.issue_cert("127.0.0.1")
    chain = b"".join(blob.bytes() for blob in broker.cert_chain_pems)
    (directory / "broker.pem").write_bytes(_pem(broker.private_key_pem.bytes(), NoEncryption()) + chain)
    client = authority.issue_cert("ada@example.org")
    (directory / "client.pem").write_bytes(client.cert_chain_pems[0].bytes())
    key = _pem(client.private_key_pem.bytes(), BestAvailableEncryption(_KEY_PASSWORD.encode()))
    (directory / "client-key.pem").write_bytes(key)


def _pem(key: bytes, encryption: KeySerializationEncryption) -> bytes:
    """A private key in the form that Kafka reads; trustme writes an older one."""
    return load_pem_private_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
