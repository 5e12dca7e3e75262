"""Which client settings of Kafka are refused before anybody is asked, and does the sentence say what to do?"""

import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from engine.errors import UsageError
from provider_log.log.kafka.security import credentials_of

NAME = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "ada", "sasl_plain_password": "secret"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a certificate of it with its key in one file, the same with a password, and another's key."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    mine, other = authority.issue_cert("ada@example.org"), authority.issue_cert("bob@example.org")
    mine.private_key_and_cert_chain_pem.write_to_path(directory / "mine.pem")
    other.private_key_pem.write_to_path(directory / "other-key.pem")
    key = load_pem_private_key(mine.private_key_pem.bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (directory / "locked.pem").write_bytes(locked + mine.cert_chain_pems[0].bytes())
    (directory / "empty.pem").touch()
    return directory


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"sasl_plain_pasword": "x"}, r"but got \['sasl_plain_pasword'\]"),
        ({"security_protocol": "TLS"}, r"'TLS' - at `\$.security_protocol`"),
        ({"security_protocol": "SSL", "ssl_check_hostname": "maybe"}, r"ssl_check_hostname"),
        ({"ssl_cafile": "ca.pem"}, "expected security_protocol SSL or SASL_SSL with ssl_cafile, but it is PLAINTEXT"),
        (NAME, "expected security_protocol SASL_SSL or SASL_PLAINTEXT with sasl_mechanism, .*, but it is PLAINTEXT"),
        (NAME | {"security_protocol": "SSL"}, "but it is SSL: no name would be given"),
        (
            {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"},
            r"with security_protocol SASL_PLAINTEXT, but \['sasl_plain_username', 'sasl_plain_password'\] are missing",
        ),
        ({"security_protocol": "SSL", "ssl_keyfile": "key.pem"}, "expected ssl_certfile with ssl_keyfile, but"),
        ({"security_protocol": "SSL", "ssl_cafile": "/nowhere/ca.pem"}, "ssl_cafile '/nowhere/ca.pem', but: .*No such"),
        ({"security_protocol": "SSL", "ssl_certfile": "/nowhere/c.pem"}, "ssl_certfile '/nowhere/c.pem' .*No such"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: Mapping[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        credentials_of(given)


def test_a_password_is_in_no_refusal() -> None:
    with pytest.raises(UsageError) as raised:
        credentials_of({"sasl_plain_password": ["s3cret"], "ssl_password": "t0p"})
    assert "s3cret" not in str(raised.value)
    assert "t0p" not in str(raised.value)


def test_files_that_do_not_fit_are_refused(files: Path) -> None:
    with pytest.raises(UsageError, match=r"authorities in ssl_cafile '.*empty\.pem'"):
        credentials_of({"security_protocol": "SSL", "ssl_cafile": str(files / "empty.pem")})
    mine = {"security_protocol": "SSL", "ssl_certfile": str(files / "mine.pem")}
    with pytest.raises(UsageError, match=r"its key in ssl_keyfile '.*other-key\.pem'.*KEY_VALUES_MISMATCH"):
        credentials_of(mine | {"ssl_keyfile": str(files / "other-key.pem")})
    assert credentials_of(mine)["ssl_context"] is not None
    locked = {"security_protocol": "SSL", "ssl_certfile": str(files / "locked.pem")}
    with pytest.raises(UsageError, match="with ssl_password if the key has one"):  # and the terminal is not asked
        credentials_of(locked)
    assert credentials_of(locked | {"ssl_password": "secret"})["ssl_context"] is not None


def test_without_any_settings_a_client_is_unencrypted_and_nobody() -> None:
    assert credentials_of({}) == {
        "client_id": "turnlog",
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
        "sasl_mechanism": None,
        "sasl_plain_username": None,
        "sasl_plain_password": None,
    }


def test_text_alone_will_do_as_variables_hold_it(files: Path) -> None:
    text = NAME | {"security_protocol": "SASL_SSL", "ssl_cafile": str(files / "ca.pem"), "client_id": "node-1"}
    checked = credentials_of(text)["ssl_context"]
    unchecked = credentials_of(text | {"ssl_check_hostname": "false"})["ssl_context"]

    assert checked is not None
    assert unchecked is not None
    assert (checked.check_hostname, unchecked.check_hostname) == (True, False)
    assert (
        checked.verify_mode is unchecked.verify_mode is ssl.CERT_REQUIRED
    )  # whoever signed it is checked all the same
    assert credentials_of(text)["client_id"] == "node-1"
