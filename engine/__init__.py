"""What is a durable orchestration? Async functions that survive crashes, over any provider; the public names are here.

Write orchestrations and activities with the decorators, run them with an `Engine` over a `Provider`, and start them
with a `Client`. Whatever is not listed here is the engine's own and may change.
"""

from engine.activity_context import ActivityContext
from engine.client import Client, ClientOptions, Handle
from engine.converter import Converter, JsonConverter
from engine.errors import (
    ActivityError,
    ClientError,
    ConversionError,
    EngineError,
    InstanceExists,
    InstanceNotFound,
    NotRegistered,
    OrchestrationFailed,
    OrchestrationHeld,
    ProviderError,
    Refused,
    SubOrchestrationError,
    TimedOut,
    Unreachable,
    UsageError,
    WaitTimedOut,
)
from engine.metrics import Metrics
from engine.model.failure import Category, Failure
from engine.model.removal import InstanceFilter
from engine.model.status import Status
from engine.model.tags import TagFilter
from engine.model.views import InstanceInfo
from engine.port import InstanceView, Mailbox, Provider, ProviderAdmin
from engine.registry import Registry, activity, orchestration
from engine.replay.bounds import TurnOptions
from engine.replay.context import OrchestrationContext
from engine.replay.futures import DurableFuture
from engine.replay.retry import RetryPolicy
from engine.runtime.host import Engine
from engine.runtime.options import EngineOptions

DISTRIBUTION = "turnlog"
"""Tells this package from others of its common name."""

__all__ = [
    "DISTRIBUTION",
    "ActivityContext",
    "ActivityError",
    "Category",
    "Client",
    "ClientError",
    "ClientOptions",
    "ConversionError",
    "Converter",
    "DurableFuture",
    "Engine",
    "EngineError",
    "EngineOptions",
    "Failure",
    "Handle",
    "InstanceExists",
    "InstanceFilter",
    "InstanceInfo",
    "InstanceNotFound",
    "InstanceView",
    "JsonConverter",
    "Mailbox",
    "Metrics",
    "NotRegistered",
    "OrchestrationContext",
    "OrchestrationFailed",
    "OrchestrationHeld",
    "Provider",
    "ProviderAdmin",
    "ProviderError",
    "Refused",
    "Registry",
    "RetryPolicy",
    "Status",
    "SubOrchestrationError",
    "TagFilter",
    "TimedOut",
    "TurnOptions",
    "Unreachable",
    "UsageError",
    "WaitTimedOut",
    "activity",
    "orchestration",
]
