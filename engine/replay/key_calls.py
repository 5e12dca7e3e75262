"""What does an instance keep over its executions, and how do its queries see it? Values under keys."""

from datetime import datetime
from typing import Any, TypeVar, overload

from engine.model.actions import CallActivity, ClearKeyValue, ClearKeyValues, ReadKeys, ReadKeyValue, SetKeyValue
from engine.model.builtins import GET_KEY_VALUE, KeyOf
from engine.replay import arguments
from engine.replay.asking import Asking
from engine.replay.futures import DurableFuture

O = TypeVar("O")  # noqa: E741  # what is kept, as which type


class KeyCalls(Asking):
    """Keys of the instance whose code asks, which alone changes them; and a look at those of others."""

    def set_key_value(self, key: str, value: object) -> None:
        """Keep `value` under `key`, from the end of this turn on for queries too; later executions find it.

        Raises:
            UsageError: The key is no string, has no UTF-8 form, or is longer than 1 KiB.
            ConversionError: The value has no payload. One that is too large, or a key too many, fails the instance.
        """
        name = arguments.key(key)
        self._ask(SetKeyValue(key=name, value=self._converter.encode(value, f"what is kept under {name!r}")))

    @overload
    def get_key_value(self, key: str) -> object: ...
    @overload
    def get_key_value(self, key: str, value: type[O]) -> O | None: ...
    def get_key_value(self, key: str, value: Any = object) -> Any:
        """What is kept under `key`, as a `value`; None if there is nothing.

        Raises:
            UsageError: The key is no string, has no UTF-8 form, or is longer than 1 KiB.
            ConversionError: What is kept is no `value`.
        """
        name = arguments.key(key)
        self._loop.require_turn()
        keys = self._ledger.keys
        if not keys.is_known(name):
            self._ask(ReadKeyValue(key=name))
        kept = keys.value(name)
        return None if kept is None else self._converter.decode(kept, value, f"what is kept under {name!r}")

    @overload
    def get_key_value_of(self, instance: str, key: str, /) -> DurableFuture[Any]: ...
    @overload
    def get_key_value_of(self, instance: str, key: str, value: type[O], /) -> DurableFuture[O | None]: ...
    def get_key_value_of(self, instance: str, key: str, value: Any = Any, /) -> DurableFuture[Any]:
        """What another instance keeps under `key`, as a `value`, when it is looked at; None if there is nothing.

        The look is an activity that every engine has: what it saw is in this history, whatever the other does later.
        Of the own instance it sees what its turns have committed, so not what this one changes. The future raises
        ConversionError if what is kept is no `value`.

        Raises:
            UsageError: `instance` is none, or the key is no string, has no UTF-8 form, or is longer than 1 KiB.
        """
        asked = KeyOf(arguments.name(instance, "the id of an instance"), arguments.key(key))
        payload = self._converter.encode(asked, f"the name of key {key!r} of {instance}")
        event_id = self._ask(CallActivity(name=GET_KEY_VALUE, input=payload))
        expected = value if value is Any else value | None
        return self._asked(event_id, expected, f"what {instance} keeps under {key!r}")

    def get_keys(self) -> list[str]:
        """Keys under which something is kept, ascending."""
        return list(self._listed())

    def get_key_values(self) -> dict[str, object]:
        """All that is kept, by key, ascending."""
        return {key: self.get_key_value(key) for key in self._listed()}

    def clear_key_value(self, key: str) -> None:
        """Keep nothing under `key` any more; it need not be there.

        Raises:
            UsageError: The key is no string, has no UTF-8 form, or is longer than 1 KiB.
        """
        self._ask(ClearKeyValue(key=arguments.key(key)))

    def clear_key_values(self) -> None:
        """Keep nothing any more."""
        self._ask(ClearKeyValues())

    def prune_key_values(self, updated_before: datetime) -> int:
        """Clear the keys whose value was put there before `updated_before`, ascending, and return how many."""
        before_ms = arguments.instant_ms(updated_before)
        old = [key for key, updated_at_ms in self._listed().items() if updated_at_ms < before_ms]
        for key in old:
            self.clear_key_value(key)
        return len(old)

    def _listed(self) -> dict[str, int]:
        self._loop.require_turn()
        if not self._ledger.keys.are_listed:
            self._ask(ReadKeys())
        return self._ledger.keys.all()
