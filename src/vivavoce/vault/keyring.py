"""The local keyring: customers' keys in a file, their material sealed under the root key.

A key that is named for the first time is made, so that a script which names the key that it had at
AWS runs unchanged. From then on it is that key: disabled, it opens nothing; destroyed, it is gone.

The file is looked at before every use. What `vivavoce keyring` changes holds at once in a server
that runs, and neither loses what the other wrote.
"""

import base64
import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast
from uuid import uuid4

from vivavoce.clock import SystemClock
from vivavoce.errors import InvalidRequest, KeyDenied, KeyUnavailable, SealBroken
from vivavoce.vault.customer_keys import DataKey, KeyName, encryption_context, parse_key_name
from vivavoce.vault.keyfile import write_private
from vivavoce.vault.seal import SealingKey, new_key

KEYRING_FILE = "keyring.json"
"""Its name in the data folder."""

MOST_KEYS = 10_000
"""Keys that one keyring holds: a name costs a caller nothing, and the file is written whole."""

KeyState: TypeAlias = Literal["Enabled", "Disabled", "Destroyed"]

_FORMAT = "vivavoce-keyring/1"
_WHY_NEVER_AGAIN: Mapping[KeyState, str] = {
    "Destroyed": ", which is destroyed; a name is never used again, choose another one"
}
_WHY_NOT: Mapping[KeyState, str] = {"Disabled": "it is disabled", "Destroyed": "it is destroyed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A customer's key in the keyring.

    Attributes:
        arn: its name for good.
        aliases: other names, such as `alias/bank`, in the ARN's region and account.
        state: a destroyed key keeps its name, so that no other key can take its place.
        created_ms: when it was made, milliseconds since the epoch.
        sealed_material: the key itself under the root key; None once destroyed.
    """

    arn: str
    aliases: tuple[str, ...]
    state: KeyState
    created_ms: int
    sealed_material: bytes | None = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that the key may be called: ARN, id, aliases, and the aliases' ARNs."""
        owner, key = self.arn.split(":key/")
        return (self.arn, key, *self.aliases, *(f"{owner}:{alias}" for alias in self.aliases))


_Stamp: TypeAlias = tuple[int, int, int]
_Keys: TypeAlias = Mapping[str, Key]  # by ARN


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What the file held when it was last read; `opened` fills as keys are used."""

    stamp: _Stamp | None
    keys: _Keys
    by_alias_arn: Mapping[str, Key]
    opened: dict[str, SealingKey] = field(default_factory=dict[str, SealingKey], repr=False)

    def find(self, name: KeyName) -> Key | None:
        return self.by_alias_arn.get(name.arn) if name.is_alias else self.keys.get(name.arn)


class LocalKeyring:
    """Customers' keys in a file; implements `CustomerKeys`, and what `vivavoce keyring` does.

    Every method may raise `KeyUnavailable`: the file is damaged, unreadable, gone, or cannot be
    written.
    """

    def __init__(self, path: Path, root_seal: SealingKey, *, may_create: bool = True) -> None:
        """Nothing is read yet.

        Args:
            path: the file; mode 0600.
            root_seal: the root key.
            may_create: False where the keyring's keys are in use already: a new file could never
                open what the lost one did, so its loss must be an error.
        """
        self._path = path
        self._root_seal = root_seal
        self._may_create = may_create
        self._seen = _contents(None, {})

    def begin(self) -> None:
        """Make the file, without keys, unless it is there."""
        with self._locked():
            if not self._path.exists():
                self._write({})

    def find(self, key_id: str, *, region: str, account_id: str) -> str | None:
        """The ARN of the key that a name stands for; None where `resolve` would make one.

        Raises:
            InvalidRequest: it is no id, alias or ARN.
            KeyDenied: the key is disabled or destroyed.
        """
        key = self._current().find(parse_key_name(key_id, region=region, account_id=account_id))
        return None if key is None else _usable(key).arn

    def resolve(self, key_id: str, *, region: str, account_id: str) -> str:
        """The ARN of the key that a name stands for; a new name makes a new key.

        Raises:
            InvalidRequest: it is no id, alias or ARN.
            KeyDenied: the key is disabled or destroyed, or the keyring is full.
        """
        name = parse_key_name(key_id, region=region, account_id=account_id)
        key = self._current().find(name)
        if key is None:
            with self._locked():
                # Somebody else may have made it meanwhile.
                key = self._current().find(name) or self._add(name)
        return _usable(key).arn

    def new_data_key(self, key_arn: str, *, domain_arn: str) -> DataKey:
        """A new random data key, wrapped for a domain.

        Raises:
            KeyDenied: the key is unknown, disabled or destroyed.
        """
        plain = new_key()
        return DataKey(
            plain=plain, wrapped=self._open(key_arn).seal(plain, place=_place(domain_arn))
        )

    def open_data_key(self, key_arn: str, wrapped: bytes, *, domain_arn: str) -> bytes:
        """Unwrap a data key.

        Raises:
            KeyDenied: the key is unknown, disabled or destroyed, or did not wrap this for this
                domain.
        """
        try:
            return self._open(key_arn).unseal(wrapped, place=_place(domain_arn))
        except SealBroken as error:
            raise KeyDenied(
                key_arn, "the data key was changed, or wrapped for another domain or by another key"
            ) from error

    def is_usable(self, key_arn: str) -> bool:
        """Whether a key is there and enabled, as the file says now."""
        key = self._current().keys.get(key_arn)
        return key is not None and key.state == "Enabled"

    def all_keys(self) -> list[Key]:
        """All keys, in the order in which they were made."""
        return list(self._current().keys.values())

    def create(self, *, region: str, account_id: str, alias: str | None = None) -> Key:
        """Make a key with a random id.

        Args:
            region: part of its ARN.
            account_id: part of its ARN.
            alias: another name, such as `alias/bank`.

        Raises:
            InvalidRequest: the region or alias is none, or the alias is taken.
            KeyDenied: the keyring is full.
        """
        name = parse_key_name(alias or str(uuid4()), region=region, account_id=account_id)
        if alias is not None and not name.is_alias:
            raise InvalidRequest(f"An alias has the form alias/<name>; {alias!r} has not")
        with self._locked():
            taken = self._current().find(name)
            if taken is not None:
                raise InvalidRequest(
                    f"{name.arn} is the name of a key already: {taken.arn}"
                    + _WHY_NEVER_AGAIN.get(taken.state, "")
                )
            return self._add(name)

    def enable(self, name: str) -> Key:
        """Let a key be used again.

        Raises:
            KeyDenied: there is no such key, or it is destroyed.
            InvalidRequest: several keys have that name.
        """
        return self._change(name, _enabled)

    def disable(self, name: str) -> Key:
        """Keep a key from being used, until it is enabled again.

        Raises:
            KeyDenied: there is no such key, or it is destroyed.
            InvalidRequest: several keys have that name.
        """
        return self._change(name, _disabled)

    def destroy(self, name: str) -> Key:
        """Remove a key's material for good: what it sealed is lost.

        Raises:
            KeyDenied: there is no such key.
            InvalidRequest: several keys have that name.
        """
        return self._change(name, lambda key: replace(key, state="Destroyed", sealed_material=None))

    def _change(self, name: str, change: Callable[[Key], Key]) -> Key:
        with self._locked():
            keys = self._current().keys
            named = [
                key for key in keys.values() if name in key.names or f"alias/{name}" in key.aliases
            ]
            if not named:
                raise KeyDenied(name, "it is not in the keyring")
            if len(named) > 1:
                arns = ", ".join(key.arn for key in named)
                raise InvalidRequest(f"Several keys are called {name}; give the ARN: {arns}")
            changed = change(named[0])
            if changed != named[0]:
                self._write({**keys, changed.arn: changed})
            return changed

    def _add(self, name: KeyName) -> Key:
        """Make the key of a name that is not there yet; the lock is held."""
        keys = self._current().keys
        if len(keys) >= MOST_KEYS:
            raise KeyDenied(name.arn, f"the keyring is full, it holds {MOST_KEYS} keys")
        arn = name.key_arn(str(uuid4())) if name.is_alias else name.arn
        key = Key(
            arn=arn,
            aliases=(name.resource,) if name.is_alias else (),
            state="Enabled",
            created_ms=SystemClock().now_ms(),
            sealed_material=self._root_seal.seal(new_key(), place=_material_place(arn)),
        )
        self._write({**keys, arn: key})
        return key

    def _open(self, key_arn: str) -> SealingKey:
        contents = self._current()
        key = contents.keys.get(key_arn)
        if key is None:
            raise KeyDenied(key_arn, "it is not in the keyring")
        material = _usable(key).sealed_material
        if key_arn not in contents.opened and material is not None:
            try:
                plain = self._root_seal.unseal(material, place=_material_place(key_arn))
            except SealBroken as error:
                raise KeyUnavailable(
                    f"the key {key_arn} in {self._path} does not open under this root key; "
                    "restore both files from one backup"
                ) from error
            contents.opened[key_arn] = SealingKey(plain)
        return contents.opened[key_arn]

    def _current(self) -> _Contents:
        """What the file holds now; it is read only when it has changed."""
        seen = self._seen
        try:
            stamp = _stamp(self._path.stat())
        except FileNotFoundError:
            if not self._may_create:
                raise KeyUnavailable(
                    f"{self._path} is missing, but there are domains whose keys are in it; "
                    "restore it from your backup"
                ) from None
            return seen
        except OSError as error:
            raise KeyUnavailable(f"{self._path} cannot be read: {error.strerror}") from error
        if stamp != seen.stamp:
            seen = self._read()
            self._seen = seen
            self._may_create = False  # a file that was there and is gone is a loss
        return seen

    def _read(self) -> _Contents:
        try:
            with self._path.open("rb") as file:
                # Of the open file: another one may take its name at any moment.
                stamp = _stamp(os.fstat(file.fileno()))
                text = file.read()
        except OSError as error:
            raise KeyUnavailable(f"{self._path} cannot be read: {error.strerror}") from error
        try:
            return _contents(stamp, _parse(text))
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise KeyUnavailable(
                f"{self._path} is not a vivavoce keyring, or it is damaged; "
                "restore it from your backup"
            ) from error

    def _write(self, keys: _Keys) -> None:
        members = [
            {
                "arn": key.arn,
                "aliases": key.aliases,
                "state": key.state,
                "created_ms": key.created_ms,
                "material": key.sealed_material and base64.b64encode(key.sealed_material).decode(),
            }
            for key in keys.values()
        ]
        document = {"format": _FORMAT, "keys": members}
        write_private(self._path, json.dumps(document, indent=1) + "\n")

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """Keep other writers away, threads and processes alike; the kernel lets go of the dead."""
        lock = self._path.with_name(f"{self._path.name}.lock")
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KeyUnavailable(f"{lock} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _usable(key: Key) -> Key:
    if key.state != "Enabled":
        raise KeyDenied(key.arn, _WHY_NOT[key.state])
    return key


def _enabled(key: Key) -> Key:
    return replace(_not_destroyed(key), state="Enabled")


def _disabled(key: Key) -> Key:
    return replace(_not_destroyed(key), state="Disabled")


def _not_destroyed(key: Key) -> Key:
    if key.state == "Destroyed":
        raise KeyDenied(key.arn, "it is destroyed, and nothing brings it back")
    return key


def _place(domain_arn: str) -> str:
    return f"data-key/{json.dumps(encryption_context(domain_arn))}"


def _material_place(key_arn: str) -> str:
    return f"keyring/{key_arn}"


def _stamp(status: os.stat_result) -> _Stamp:
    # Every version of the file is a new one (`write_private`); the time tells an edit in place.
    return status.st_mtime_ns, status.st_ino, status.st_size


def _contents(stamp: _Stamp | None, keys: _Keys) -> _Contents:
    return _Contents(
        stamp=stamp,
        keys=keys,
        by_alias_arn={
            name: key for key in keys.values() for name in key.names if ":alias/" in name
        },
    )


def _parse(text: bytes) -> _Keys:
    """Read the file's text; whatever it raises says that the file is damaged."""
    document = cast("dict[str, Any]", json.loads(text))
    members = cast("list[dict[str, Any]]", document["keys"])
    keys = {key.arn: key for key in map(_parse_key, members)}
    names = [name for key in keys.values() for name in key.names if ":alias/" in name]
    if document["format"] != _FORMAT or len(keys) != len(members) or len(names) != len(set(names)):
        raise ValueError
    return keys


def _parse_key(member: dict[str, Any]) -> Key:
    material = member["material"]
    key = Key(
        arn=member["arn"],
        aliases=tuple(member["aliases"]),
        state=member["state"],
        created_ms=member["created_ms"],
        sealed_material=None if material is None else base64.b64decode(material, validate=True),
    )
    sealed_states = {True: ("Enabled", "Disabled"), False: ("Destroyed",)}
    if (
        key.state not in sealed_states[key.sealed_material is not None]
        or type(key.created_ms) is not int
        or not all(isinstance(alias, str) for alias in cast("tuple[object, ...]", key.aliases))
        or ":key/" not in key.arn
    ):
        raise ValueError
    return key
