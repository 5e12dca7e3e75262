"""How is a client let in by a broker, and if it is not, which setting is to be mended?"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Literal, TypedDict

import msgspec
from aiokafka.errors import IllegalSaslStateError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

from engine.errors import UsageError

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_TLS_ALERT = 0x1503
"""How a TLS alert begins; who does not speak TLS takes it for the length of an answer."""

_TLS = ("SSL", "SASL_SSL")
_SASL = ("sasl_mechanism", "sasl_plain_username", "sasl_plain_password")


class ClientSettings(TypedDict, total=False):
    """How to be let in by a broker. Text and a truth value, so that variables and child processes can carry them.

    Names and meanings are those of Kafka's Python clients. Without any, unencrypted and as nobody. Files are PEM.
    """

    client_id: str
    security_protocol: SecurityProtocol
    ssl_cafile: str
    ssl_certfile: str
    ssl_keyfile: str
    ssl_password: str
    ssl_check_hostname: bool
    sasl_mechanism: SaslMechanism
    sasl_plain_username: str
    sasl_plain_password: str


class Credentials(TypedDict):
    """The same, as aiokafka's connection takes it."""

    client_id: str
    security_protocol: SecurityProtocol
    ssl_context: ssl.SSLContext | None
    sasl_mechanism: str | None
    sasl_plain_username: str | None
    sasl_plain_password: str | None


def credentials_of(given: Mapping[str, object]) -> Credentials:
    """What a connection shows and checks; files are read here, once.

    Args:
        given: `ClientSettings`, or the same as text alone.

    Raises:
        UsageError: A name is none, a value does not fit, one is missing or would not be used, a file is unfit.
    """
    if unknown := sorted(set(given) - set(ClientSettings.__annotations__)):
        raise UsageError(
            f"expected Kafka client settings ({', '.join(sorted(ClientSettings.__annotations__))}), but got {unknown}"
        )
    try:
        settings = msgspec.convert(dict(given), ClientSettings, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"expected Kafka client settings, but one does not fit: {error}") from None
    protocol = settings.get("security_protocol", "PLAINTEXT")
    _check_combination(settings, protocol)
    return Credentials(
        client_id=settings.get("client_id", "turnlog"),
        security_protocol=protocol,
        ssl_context=_context(settings) if protocol in _TLS else None,
        sasl_mechanism=settings.get("sasl_mechanism"),
        sasl_plain_username=settings.get("sasl_plain_username"),
        sasl_plain_password=settings.get("sasl_plain_password"),
    )


def _check_combination(settings: ClientSettings, protocol: SecurityProtocol) -> None:
    """Refuse what would be left unused in silence, and what a protocol cannot do without."""
    has_tls, has_sasl = protocol in _TLS, protocol.startswith("SASL_")
    of_tls = [name for name in settings if name.startswith("ssl_")]
    if of_tls and not has_tls:
        raise UsageError(
            f"expected security_protocol SSL or SASL_SSL with {', '.join(of_tls)}, but it is {protocol}: "
            "nothing would be encrypted"
        )
    of_sasl = [name for name in settings if name.startswith("sasl_")]
    if of_sasl and not has_sasl:
        raise UsageError(
            f"expected security_protocol SASL_SSL or SASL_PLAINTEXT with {', '.join(of_sasl)}, but it is {protocol}: "
            "no name would be given"
        )
    if has_sasl and (missing := [name for name in _SASL if name not in settings]):
        raise UsageError(f"expected {', '.join(_SASL)} with security_protocol {protocol}, but {missing} are missing")
    of_key = [name for name in ("ssl_keyfile", "ssl_password") if name in settings]
    if of_key and "ssl_certfile" not in settings:
        raise UsageError(f"expected ssl_certfile with {', '.join(of_key)}, but it is missing")


def _context(settings: ClientSettings) -> ssl.SSLContext:
    authorities = settings.get("ssl_cafile")
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise UsageError(f"expected certificates of authorities in ssl_cafile {authorities!r}, but: {error}") from error
    context.check_hostname = settings.get("ssl_check_hostname", True)
    if "ssl_certfile" in settings:
        certificate, key = settings["ssl_certfile"], settings.get("ssl_keyfile")
        try:
            # A password that is missing is an empty one: OpenSSL would ask the terminal for it.
            context.load_cert_chain(certificate, key, lambda: settings.get("ssl_password", ""))
        except OSError as error:
            raise UsageError(
                f"expected a certificate in ssl_certfile {certificate!r} and its key in ssl_keyfile {key!r}, or in the "
                f"same file, with ssl_password if the key has one, but: {error}"
            ) from error
    return context


def refusal_in(error: BaseException | None) -> str | None:
    """What a broker says, and what somebody must mend, if a connection failed for good; None if it may yet succeed."""
    while error is not None:
        if isinstance(error, SaslAuthenticationFailed):
            return f"{error}; mend sasl_plain_username, sasl_plain_password, sasl_mechanism, or the brokers' users"
        if isinstance(error, UnsupportedSaslMechanismError):
            return f"{error}; mend sasl_mechanism"
        if isinstance(error, IllegalSaslStateError):
            return "it asks for no name; mend security_protocol"
        if isinstance(error, asyncio.IncompleteReadError) and (error.expected or 0) >> 16 == _TLS_ALERT:
            return "it speaks TLS; mend security_protocol"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"{error}; mend ssl_cafile, if its authority is missing there, or the name the broker is asked by"
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return f"{error}; mend security_protocol, ssl_certfile or ssl_keyfile"
        error = error.__cause__
    return None


def was_closed(error: BaseException | None) -> bool:
    """Whether a connection failed with `error` because the broker closed it without a word."""
    return isinstance(error, ConnectionResetError | EOFError) or (error is not None and was_closed(error.__cause__))
