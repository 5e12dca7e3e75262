"""Who may ask this node? The holder of its token, or, where it has none, programs of this machine.

A node without a token listens on loopback only. That alone does not keep a web page out: a browser on this machine
reaches loopback for any site that asks it to. So such a node answers only requests that name it as loopback (a site
whose name was rebound to 127.0.0.1 does not) and that no page of another origin sent.
"""

import hmac
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.errors import UsageError
from provider_log.server import wire
from provider_log.server.address import is_loopback
from provider_log.server.problems import CONTENT_TYPE, problem_of

OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""What a supervisor may ask without a token."""


def problem_response(error: UsageError, status: HTTPStatus, headers: dict[str, str] | None = None) -> Response:
    """The answer to a request that HTTP itself has a word for."""
    return Response(wire.encode(problem_of(error, status)), status, headers, CONTENT_TYPE)


class Gate:
    """ASGI middleware: checks who asks, and hands the path on as it came, still percent-encoded.

    An instance id may hold a slash; routing over the decoded path would take it for a path of its own.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._authorization = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = bytes(scope["raw_path"]).decode("latin-1")
        headers = Headers(scope=scope)
        refusal = None if path in OPEN_PATHS else self._refusal(headers)
        await (refusal or self._app)({**scope, "path": path}, receive, send)

    def _refusal(self, headers: Headers) -> Response | None:
        if self._authorization is not None:
            if hmac.compare_digest(headers.get("authorization", "").encode("latin-1"), self._authorization):
                return None
            error = UsageError(
                "expected this node's token (Authorization: Bearer …), but the request has another or none"
            )
            return problem_response(error, HTTPStatus.UNAUTHORIZED, {"www-authenticate": "Bearer"})
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_loopback(urlsplit(f"//{host}").hostname or ""):
            error = UsageError(
                f"expected a request to localhost or a loopback address, but this one names {host!r}; "
                "a node that is reached by another name needs a token"
            )
            return problem_response(error, HTTPStatus.FORBIDDEN)
        if origin is not None and origin != f"http://{host}":
            error = UsageError(f"expected a request of a program, but a page of {origin!r} sent this one")
            return problem_response(error, HTTPStatus.FORBIDDEN)
        return None
