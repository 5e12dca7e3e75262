"""How are the activities executed that every engine has? By the provider, without code of a user."""

from collections.abc import Awaitable, Callable, Mapping

from engine.converter import Converter
from engine.model.builtins import GET_KEY_VALUE, KeyOf
from engine.model.payload import NULL, Payload
from engine.model.work import WorkItem
from engine.port import Provider

Builtin = Callable[[WorkItem, Provider, Converter], Awaitable[Payload]]


async def _get_key_value(item: WorkItem, provider: Provider, converter: Converter) -> Payload:
    """What is kept, as it is kept: only who asked says of which type it is."""
    asked = converter.decode(item.input, KeyOf, f"the input of {item.name}")
    kept = await provider.get_key_value(asked.instance, asked.key)
    return NULL if kept is None else kept.value


BUILTINS: Mapping[str, Builtin] = {GET_KEY_VALUE: _get_key_value}
