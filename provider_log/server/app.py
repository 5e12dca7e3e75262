"""How do the endpoints become an application? Routes from the table, and every error a problem."""

import logging
from functools import partial
from http import HTTPStatus

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from engine.errors import EngineError, Retryable, UsageError
from provider_log.server import shapes, wire
from provider_log.server.address import HOP_HEADER
from provider_log.server.asking import Ask, BodyTooLarge, Measure, Served
from provider_log.server.endpoints import ENDPOINTS, Endpoint
from provider_log.server.gate import Gate, problem_response
from provider_log.server.problems import CONTENT_TYPE, problem_of

log = logging.getLogger("turnlog.server")


def create_app(
    served: Served,
    *,
    here: Served | None = None,
    token: str | None = None,
    closing: anyio.Event | None = None,
    measure: Measure | None = None,
) -> ASGIApp:
    """The ASGI application over `served`.

    Args:
        served: Whose ways in and out these are.
        here: What this node can say without asking another: what a node that asks it gets. `served` if None.
        token: If given, every request but for health must carry it; if not, every request must come from loopback.
        closing: Set when the node stops: waits end, and it is no longer ready.
        measure: Asks the engine of this node how it is, if it has one.
    """
    closing = closing or anyio.Event()

    async def at(endpoint: Endpoint, request: Request) -> Response:
        try:
            # A node that was asked on another's behalf asks no third one: two that disagree would never stop.
            asked = here or served if HOP_HEADER in request.headers else served
            if request.url.path.startswith("/v1/") and not asked.answers:
                raise Retryable(endpoint.answer.__name__, "expected a node that is ready, but this one is restoring")
            ask = Ask(asked, closing, request, measure)
            if endpoint.query is shapes.NoQuery:
                ask.query(shapes.NoQuery)
            return await endpoint.answer(ask)
        except EngineError as error:
            return _refused(error)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.NO_CONTENT)  # nobody is there to read it
        except Exception:
            log.exception("%s %s failed", request.method, request.url.path)
            return _refused(EngineError("expected an answer, but the node failed; its log has the traceback"))

    routes = [Route(each.path, partial(at, each), methods=[each.method]) for each in ENDPOINTS]
    starlette = Starlette(routes=routes, exception_handlers={HTTPException: _no_such_endpoint})
    starlette.router.redirect_slashes = False
    return Gate(starlette, token)


def _refused(error: EngineError) -> Response:
    if isinstance(error, BodyTooLarge):
        return problem_response(UsageError(str(error)), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"connection": "close"})
    problem = problem_of(error)
    headers = {"retry-after": "1"} if problem.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return Response(wire.encode(problem), problem.status, headers, CONTENT_TYPE)


async def _no_such_endpoint(request: Request, error: Exception) -> Response:
    status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    what = f"expected an endpoint of /v1, but there is none at {request.method} {request.url.path}"
    return problem_response(UsageError(what), status)
