"""What does the OpenAPI document of `/v1` say? It is made from the table of endpoints, so that it cannot say otherwise.

`python -m provider_log.server.openapi` prints it; docs/openapi.json keeps it.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from engine.model.payload import Payload
from provider_log.server import shapes
from provider_log.server.endpoints import ENDPOINTS, Endpoint
from provider_log.server.problems import CONTENT_TYPE, Problem

REF = "#/components/schemas/{name}"

HEADERS: tuple[dict[str, Any], ...] = (
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "One per logical call: the second message with the same one is dropped.",
        "schema": {"type": "string", "minLength": 1, "maxLength": shapes.MESSAGE_ID_CHARS_MAX},
    },
    {
        "name": "traceparent",
        "in": "header",
        "description": "W3C trace context of the caller.",
        "schema": {"type": "string"},
    },
)

ANY_PAYLOAD: dict[str, Any] = {
    "description": "A value of the user: JSON as it is. One that is not plain JSON is an object whose only field is "
    "`$payload`: its bytes in base64 as `data`, with `content_type`, `codecs` and `key_id`."
}


SAID_HERE: tuple[type[Struct], ...] = (
    Problem,
    shapes.Start,
    shapes.Cancel,
    shapes.Deletion,
    shapes.Prune,
    shapes.Which,
    shapes.PruneMany,
    shapes.Accepted,
    shapes.InstancePage,
    shapes.History,
    shapes.Executions,
    shapes.NodeInfo,
    shapes.Health,
)


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document, as JSON values."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Turnlog node",
            "version": "1",
            "description": "Start, tell, watch and cancel orchestrations. Every error is problem+json whose `type` is "
            "the name of a class in `engine.errors`. A node that has a token asks for it as `Authorization: Bearer`.",
        },
        "servers": [{"url": "http://127.0.0.1:8620"}],
        "paths": paths,
        "components": {"schemas": _components()},
    }


def text() -> bytes:
    """The document as it stands in docs/openapi.json."""
    return msgspec.json.format(msgspec.json.encode(document(), order="sorted"), indent=2) + b"\n"


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.answer.__name__,
        "summary": (inspect.getdoc(endpoint.answer) or "").partition("\n")[0],
        "parameters": list(_parameters(endpoint)),
        "responses": {str(status.value): _answer(status, shape) for status, shape in endpoint.answers.items()}
        | {"default": {"description": "Any error", "content": {CONTENT_TYPE: {"schema": _schema(Problem)}}}},
    }
    if endpoint.body is not None:
        required = (
            any(field.required for field in msgspec.structs.fields(endpoint.body)) and endpoint.body is not Payload
        )
        operation["requestBody"] = {
            "required": required,
            "content": {"application/json": {"schema": _schema(endpoint.body)}},
        }
    return operation


def _parameters(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", endpoint.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    for field in msgspec.structs.fields(endpoint.query):
        (schema,), _ = msgspec.json.schema_components([field.type], ref_template=REF)
        yield {"name": field.name, "in": "query", "required": field.required, "schema": schema}
    if issubclass(endpoint.query, shapes.MessageQuery):
        yield from HEADERS


def _answer(status: HTTPStatus, shape: type[Struct | str] | None) -> dict[str, Any]:
    if shape is None:
        return {"description": status.phrase}
    if issubclass(shape, str):
        return {"description": status.phrase, "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"description": status.phrase, "content": {"application/json": {"schema": _schema(shape)}}}


def _schema(shape: type[Struct]) -> dict[str, str]:
    return {"$ref": REF.format(name=shape.__name__)}


def _components() -> dict[str, Any]:
    kinds: list[Any] = [Problem, Payload]
    for endpoint in ENDPOINTS:
        kinds += [shape for shape in (endpoint.body, *endpoint.answers.values()) if shape not in (None, str)]
    _, components = msgspec.json.schema_components(kinds, ref_template=REF)
    for name, schema in components.items():
        # The engine's words are for readers of its code, and change with it.
        said = schema.pop("description", "").partition("\n\n")[0]
        if name in {kind.__name__ for kind in SAID_HERE}:
            schema["description"] = said
        for property_schema in schema.get("properties", {}).values():
            if property_schema.get("$ref") == REF.format(name="Payload") and "default" in property_schema:
                property_schema["default"] = None
    return components | {"Payload": ANY_PAYLOAD}


if __name__ == "__main__":
    sys.stdout.buffer.write(text())
