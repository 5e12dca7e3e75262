"""Do the examples of docs/schemas.md work as they stand?"""

import re
from pathlib import Path
from typing import Any

from engine.model.failure import Category, Failure
from engine.model.messages import (
    CancelInstance,
    CompleteActivity,
    EnqueueMessage,
    FailActivity,
    RaiseEvent,
    StartOrchestration,
)
from engine.model.payload import Payload
from provider_log import codec

PAGE = (Path(__file__).parents[3] / "docs" / "schemas.md").read_text(encoding="utf-8")
NUMBERS: dict[str, Any] = {"instance": "order-7", "incarnation": 3, "execution_id": 1, "activity_id": 2}
PAID = RaiseEvent(instance="order-7", name="paid", data=Payload(b'{"cents": 1250}'), message_id="payment-4711")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_json_examples_are_messages() -> None:
    headers = [("content-type", b"application/json"), ("turnlog-token", b"3.1.2.c0ffee")]
    read = [codec.decode_input(block.encode(), headers) for block in _blocks("json")]

    assert read == [
        StartOrchestration(instance="order-7", name="order", input=Payload(b'{"sku": "lamp", "count": 2}')),
        PAID,
        EnqueueMessage(instance="order-7", name="notes", data=Payload(b'"leave it at the door"')),
        CancelInstance(instance="order-7", reason="the customer changed her mind"),
        CompleteActivity(**NUMBERS, result=Payload(b'{"frames": 240}')),
        FailActivity(**NUMBERS, failure=Failure(Category.APPLICATION, "gpu.OutOfMemory", "the frame is too large")),
    ]


def test_the_avro_example_writes_what_we_write() -> None:
    example, _ = _blocks("python")  # the second one needs a broker: tests/kafka/test_topic_workers.py
    names: dict[str, Any] = {}

    exec(compile(example, "docs/schemas.md", "exec"), names)

    assert names["value"] == codec.encode_message(PAID)
    assert codec.decode_input(names["value"], [("content-type", b"avro/binary")]) == PAID
