"""What can go wrong with what a turn puts under keys, and with the two layers they are kept in? One class a fault.

Who sees the keys then, and what takes them away, is in `mutants_of_kept_keys`.
"""

import unicodedata
from abc import abstractmethod
from collections.abc import Awaitable, Sequence

from msgspec import structs

from engine.errors import Refused
from engine.model.failure import Failure
from engine.model.key_values import Changed, KeyValue, KeyValueChange, changed, merged
from engine.model.payload import Payload
from engine.model.status import TERMINAL, Status
from engine.model.turn import TurnResult
from tests.conformance.mutant import Mutant

Kept = dict[str, KeyValue]


class _KeyFault(Mutant):
    """Three steps of a commit that a fault can replace: what a turn asks for, what it changes, what its end merges."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return changes

    def _changed(self, began_with: Kept, before: Changed, changes: Sequence[KeyValueChange]) -> Changed:
        return changed(began_with, before, changes, self._now_ms())

    def _is_end(self, status: Status | None) -> bool:
        return status in TERMINAL or status is Status.CONTINUED_AS_NEW

    def _merged(self, began_with: Kept, changes: Changed) -> Kept:
        return merged(began_with, changes)

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        row = self._instances.get(instance)
        began_with, before = (row.began_with, row.changed) if row else (Kept(), dict[str, KeyValue | None]())
        super()._commit(instance, token, result)
        row = self._instances[instance]
        changes = self._changed(began_with, before, self._asked(result.key_values))
        if self._is_end(result.metadata.status):
            row.began_with, row.changed = self._merged(began_with, changes), {}
        else:
            row.began_with, row.changed = began_with, dict(changes)


# What a turn asks for


class KeysNotKept(_KeyFault):
    """What a turn puts is forgotten."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return ()


class FirstTurnPutsNothing(_KeyFault):
    """An instance is created without the keys of its first turn."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        is_first = instance not in self._instances
        super()._commit(instance, token, structs.replace(result, key_values=()) if is_first else result)


class ClearOfOneKeyIgnored(_KeyFault):
    """A key that is cleared stays."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return [change for change in changes if change.key is None or change.value is not None]


class ClearOfAllIgnored(_KeyFault):
    """To clear all keys does nothing."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return [change for change in changes if change.key is not None]


class ClearOfOneKeyClearsAll(_KeyFault):
    """To clear one key clears all."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return [change if change.value is not None else KeyValueChange() for change in changes]


class ChangesInReverse(_KeyFault):
    """The changes of a turn are made last one first."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return changes[::-1]


class ClearsBeforePuts(_KeyFault):
    """What a turn clears is cleared before it puts anything."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return sorted(changes, key=lambda change: change.value is not None)


class PutsBeforeClears(_KeyFault):
    """What a turn clears is cleared after it has put everything."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return sorted(changes, key=lambda change: change.value is None)


class OnlyTheLastChangeCounts(_KeyFault):
    """Of several changes in a turn, only the last one is made."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return changes[-1:]


class OneChangeAKeyAndTurn(_KeyFault):
    """The first change of a key in a turn is the one that counts."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return list({change.key: change for change in reversed(changes)}.values())[::-1]


class NoMoreThanAHundredChanges(_KeyFault):
    """What a turn changes beyond that is cut off, as if it had not fit."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return changes[:100]


class _ValueFault(_KeyFault):
    @abstractmethod
    def _value(self, value: Payload) -> Payload | None: ...

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return [KeyValueChange(change.key, change.value and self._value(change.value)) for change in changes]


class EmptyValueIsNone(_ValueFault):
    """A value of no bytes clears its key."""

    def _value(self, value: Payload) -> Payload | None:
        return value if value.data else None


class LongValueCutOff(_ValueFault):
    """A value is cut where its length no longer fits two bytes."""

    def _value(self, value: Payload) -> Payload | None:
        return structs.replace(value, data=value.data[:65_535])


class ValueIsBytesAlone(_ValueFault):
    """What a payload says about its bytes is lost."""

    def _value(self, value: Payload) -> Payload | None:
        return Payload(value.data)


class _KeyTextFault(_KeyFault):
    @abstractmethod
    def _key(self, key: str) -> str: ...

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return [
            KeyValueChange(change.key if change.key is None else self._key(change.key), change.value)
            for change in changes
        ]


class KeyEndsAtNul(_KeyTextFault):
    """A key goes as far as its first NUL."""

    def _key(self, key: str) -> str:
        return key.partition("\x00")[0]


class KeyTrimmed(_KeyTextFault):
    """Spaces around a key are taken away."""

    def _key(self, key: str) -> str:
        return key.strip(" ")


class KeyWithoutCase(_KeyTextFault):
    """Capital letters are small ones."""

    def _key(self, key: str) -> str:
        return key.lower()


class KeyNormalized(_KeyTextFault):
    """Keys that look the same are the same."""

    def _key(self, key: str) -> str:
        return unicodedata.normalize("NFC", key)


class KeyIsAPath(_KeyTextFault):
    """Slashes at the end and double ones do not count."""

    def _key(self, key: str) -> str:
        return "/".join(part for part in key.split("/") if part)


class EmptyKeyIgnored(_KeyFault):
    """The empty key is no key."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return [change for change in changes if change.key != ""]


class EmptyKeyIsAll(_KeyFault):
    """To clear the empty key clears all."""

    def _asked(self, changes: Sequence[KeyValueChange]) -> Sequence[KeyValueChange]:
        return [KeyValueChange(change.key or None, change.value) if not change.value else change for change in changes]


class ClearOfNothingRefused(_KeyFault):
    """A turn that clears a key that is not there is refused."""

    def _refuse_known_events(self, instance: str, result: TurnResult) -> None:
        row = self._instances.get(instance)
        there = set(merged(row.began_with, row.changed)) if row else set[str]()
        for change in result.key_values:
            if change.key is not None and change.value is None and change.key not in there:
                raise Refused("ack_orchestration_item", f"expected a key {change.key!r}, but there is none")
            there.add(change.key or "")
        super()._refuse_known_events(instance, result)


# What it changes


class FirstValueStays(_KeyFault):
    """A key that has a value keeps it until it is cleared."""

    def _changed(self, began_with: Kept, before: Changed, changes: Sequence[KeyValueChange]) -> Changed:
        after = before
        for change in changes:
            if change.value is None or change.key not in merged(began_with, after):
                after = super()._changed(began_with, after, [change])
        return after


class TurnForgetsTheTurnsBefore(_KeyFault):
    """What an execution changed is what its latest turn changed."""

    def _changed(self, began_with: Kept, before: Changed, changes: Sequence[KeyValueChange]) -> Changed:
        return super()._changed(began_with, {}, changes)


class TombstonesLost(_KeyFault):
    """A key that is cleared shows the value that the execution began with."""

    def _changed(self, began_with: Kept, before: Changed, changes: Sequence[KeyValueChange]) -> Changed:
        return super()._changed({}, before, changes)


class ClearOfANewKeyIgnored(_KeyFault):
    """Only keys that the execution began with can be cleared, one by one."""

    def _changed(self, began_with: Kept, before: Changed, changes: Sequence[KeyValueChange]) -> Changed:
        is_made = [change.value is not None or change.key is None or change.key in began_with for change in changes]
        made = [change for change, is_it in zip(changes, is_made, strict=True) if is_it]
        return super()._changed(began_with, before, made)


class ClearMakesAKey(_KeyFault):
    """To clear a key that is not there puts an empty value under it."""

    def _changed(self, began_with: Kept, before: Changed, changes: Sequence[KeyValueChange]) -> Changed:
        after = super()._changed(began_with, before, changes)
        there = {*merged(began_with, before), *(change.key for change in changes if change.value is not None)}
        made = {change.key for change in changes if change.key is not None} - there
        return {**after, **dict.fromkeys(made, KeyValue(Payload(b""), self._now_ms()))}


class _ClearAllFault(_KeyFault):
    @abstractmethod
    def _left(self, began_with: Kept, before: Changed) -> Changed: ...

    def _changed(self, began_with: Kept, before: Changed, changes: Sequence[KeyValueChange]) -> Changed:
        after = before
        for change in changes:
            clears_all = change.key is None
            after = self._left(began_with, after) if clears_all else super()._changed(began_with, after, [change])
        return after


class ClearAllClearsWhatIsNewAlone(_ClearAllFault):
    """To clear all takes back what the execution changed: what it began with is there again."""

    def _left(self, began_with: Kept, before: Changed) -> Changed:
        return {}


class ClearAllClearsWhatIsOldAlone(_ClearAllFault):
    """To clear all clears what the execution began with, and leaves what it has put."""

    def _left(self, began_with: Kept, before: Changed) -> Changed:
        return {**dict.fromkeys(began_with), **{key: each for key, each in before.items() if each is not None}}


class ClearAllSparesWhatWasOverwritten(_ClearAllFault):
    """To clear all marks what was not touched and takes back what was: keys in both layers are there again."""

    def _left(self, began_with: Kept, before: Changed) -> Changed:
        return dict.fromkeys(key for key in began_with if key not in before)


# What the end merges


class NotMergedAtCompletion(_KeyFault):
    """An execution that completed leaves two layers."""

    def _is_end(self, status: Status | None) -> bool:
        return super()._is_end(status) and status is not Status.COMPLETED


class NotMergedAtFailure(_KeyFault):
    """An execution that failed leaves two layers."""

    def _is_end(self, status: Status | None) -> bool:
        return super()._is_end(status) and status is not Status.FAILED


class NotMergedAtCancellation(_KeyFault):
    """An execution that was cancelled leaves two layers."""

    def _is_end(self, status: Status | None) -> bool:
        return super()._is_end(status) and status is not Status.CANCELLED


class NotMergedAtContinueAsNew(_KeyFault):
    """An execution that continued as new leaves two layers."""

    def _is_end(self, status: Status | None) -> bool:
        return super()._is_end(status) and status is not Status.CONTINUED_AS_NEW


class MergedByEveryTurn(_KeyFault):
    """A fetch shows what turns of the same execution have changed."""

    def _is_end(self, status: Status | None) -> bool:
        return True


class MergedByHolding(Mutant):
    """To be held counts as an end."""

    async def hold_orchestration_item(self, lock_token: str, failure: Failure) -> None:
        instance = self._locks.valid("hold_orchestration_item", lock_token)
        await super().hold_orchestration_item(lock_token, failure)
        row = self._instances[instance]
        row.began_with, row.changed = merged(row.began_with, row.changed), {}


class MergedBeforeTheLastTurn(_KeyFault):
    """What the turn that ends an execution changes is not merged, but left to the next one."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, structs.replace(result, key_values=()))
        row = self._instances[instance]
        row.changed = dict(self._changed(row.began_with, row.changed, result.key_values))


class ChangesLostAtTheEnd(_KeyFault):
    """What an execution changed is gone with it."""

    def _merged(self, began_with: Kept, changes: Changed) -> Kept:
        return began_with


class UntouchedLostAtTheEnd(_KeyFault):
    """What an execution did not put is gone with it."""

    def _merged(self, began_with: Kept, changes: Changed) -> Kept:
        return merged({}, changes)


class OlderValueWinsAtTheEnd(_KeyFault):
    """What the execution began with overwrites what it has put."""

    def _merged(self, began_with: Kept, changes: Changed) -> Kept:
        return {**merged(began_with, changes), **{key: began_with[key] for key in changes if key in began_with}}


class ClearedComesBackAtTheEnd(_KeyFault):
    """A key that was cleared is there again when the execution has ended."""

    def _merged(self, began_with: Kept, changes: Changed) -> Kept:
        return merged(began_with, {key: each for key, each in changes.items() if each is not None})


class EmptyValueLostAtTheEnd(_KeyFault):
    """A value of no bytes is taken for a key that was cleared, once the execution has ended."""

    def _merged(self, began_with: Kept, changes: Changed) -> Kept:
        return {key: each for key, each in merged(began_with, changes).items() if each.value.data}


# When


class UpdatedMovedByTheMerge(_KeyFault):
    """What an execution has put counts as put when it ended."""

    def _merged(self, began_with: Kept, changes: Changed) -> Kept:
        now_ms = self._now_ms()
        return merged(began_with, {key: each and KeyValue(each.value, now_ms) for key, each in changes.items()})


class UpdatedMovedByEveryTurn(_KeyFault):
    """What an execution has put counts as put by its latest turn."""

    def _changed(self, began_with: Kept, before: Changed, changes: Sequence[KeyValueChange]) -> Changed:
        after = super()._changed(began_with, before, changes)
        return {key: each and KeyValue(each.value, self._now_ms()) for key, each in after.items()}


class UpdatedStaysWithTheValue(_KeyFault):
    """To put the same value again leaves the time at which it was put first."""

    def _changed(self, began_with: Kept, before: Changed, changes: Sequence[KeyValueChange]) -> Changed:
        kept, after = merged(began_with, before), super()._changed(began_with, before, changes)
        return {
            key: kept[key] if each is not None and key in kept and kept[key].value == each.value else each
            for key, each in after.items()
        }


class UpdatedIsTheTimeOfTheInstance(_KeyFault):
    """Keys are as old as their instance."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, result)
        row = self._instances[instance]
        old = row.created_at_ms
        row.changed = {key: each and KeyValue(each.value, old) for key, each in row.changed.items()}
        row.began_with = {key: KeyValue(each.value, old) for key, each in row.began_with.items()}


# Atomicity


class KeysOfARefusedTurnKept(Mutant):
    """Keys are put before it is known whether the turn is refused."""

    def _refuse_known_events(self, instance: str, result: TurnResult) -> None:
        row = self._instances.get(instance)
        if row is not None:
            row.changed = changed(row.began_with, row.changed, result.key_values, self._now_ms())
        super()._refuse_known_events(instance, result)


class KeysOfALateTurnKept(Mutant):
    """Keys are put before it is known whether the lock has expired."""

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        row = self._instances.get(self._locks.known("ack_orchestration_item", lock_token))
        if row is not None:
            row.changed = changed(row.began_with, row.changed, result.key_values, self._now_ms())
        return super().ack_orchestration_item(lock_token, result)
