"""Do the examples of docs/schemas.md work as they stand?"""

import re
from pathlib import Path
from typing import Any

from engine.model.messages import CancelInstance, EnqueueMessage, RaiseEvent, StartOrchestration
from engine.model.payload import Payload
from provider_log import codec

PAGE = (Path(__file__).parents[3] / "docs" / "schemas.md").read_text(encoding="utf-8")
PAID = RaiseEvent(instance="order-7", name="paid", data=Payload(b'{"cents": 1250}'), message_id="payment-4711")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_json_examples_are_messages() -> None:
    read = [codec.decode_input(block.encode(), [("content-type", b"application/json")]) for block in _blocks("json")]

    assert read == [
        StartOrchestration(instance="order-7", name="order", input=Payload(b'{"sku": "lamp", "count": 2}')),
        PAID,
        EnqueueMessage(instance="order-7", name="notes", data=Payload(b'"leave it at the door"')),
        CancelInstance(instance="order-7", reason="the customer changed her mind"),
    ]


def test_the_avro_example_writes_what_we_write() -> None:
    (example,) = _blocks("python")
    names: dict[str, Any] = {}

    exec(compile(example, "docs/schemas.md", "exec"), names)

    assert names["value"] == codec.encode_message(PAID)
    assert codec.decode_input(names["value"], [("content-type", b"avro/binary")]) == PAID
