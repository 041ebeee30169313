"""What happens to domains: they are made, changed, given other keys, and deleted."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from vivavoce.clock import Clock
from vivavoce.errors import (
    Conflict,
    KeyDenied,
    KeyServiceDown,
    NotFound,
    SealBroken,
    concurrent_changes,
)
from vivavoce.ids import domain_arn, unique_id
from vivavoce.sessions.locks import Locks
from vivavoce.store.records import Domain, Watchlist
from vivavoce.store.reencryption import Position
from vivavoce.store.store import Store, Transaction
from vivavoce.store.tokens import ClientToken

_DEFAULT_WATCHLIST_NAME = "default-watchlist"
_DEFAULT_WATCHLIST_DESCRIPTION = "Fraudsters of this domain"
"""Not documented; any name does (voice-id-behaviour.md, section 6.5)."""

_LOOK_AGAIN_S = 60.0
"""A key service that was down is asked again after this."""

_log = logging.getLogger(__name__)


class CustomerKeys(Protocol):
    """Customers' keys; its methods block."""

    def find_customer_key(self, key_id: str, *, region: str, account_id: str) -> str | None:
        """The same as `resolve_customer_key`, but None where that would make the key first."""
        ...

    def resolve_customer_key(self, key_id: str, *, region: str, account_id: str) -> str:
        """The ARN of a key; raises `KeyDenied`, `KeyServiceDown`, `InvalidRequest`."""
        ...

    def new_domain_key(self, kms_key_id: str, *, domain_arn: str) -> bytes:
        """A new data key, wrapped; raises `KeyDenied`, `KeyServiceDown`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a domain is."""

    region: str
    account_id: str

    def arn(self, domain_id: str) -> str:
        """The ARN of a domain here."""
        return domain_arn(domain_id, region=self.region, account_id=self.account_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDomain:
    """A domain to be made.

    Attributes:
        token: makes the request idempotent.
    """

    name: str
    description: str | None
    key_id: str
    tags: Mapping[str, str]
    token: ClientToken


class DomainDesk:
    """All domains."""

    def __init__(
        self,
        *,
        store: Store,
        keys: CustomerKeys,
        clock: Clock,
        reencryptor: "Reencryptor",
        end_calls: Callable[[str], Awaitable[None]],
    ) -> None:
        """Put together.

        Args:
            store: the state.
            keys: customers' keys.
            clock: the time.
            reencryptor: seals a domain anew when its key changes.
            end_calls: ends the live calls of a domain.
        """
        self._store = store
        self._keys = keys
        self._clock = clock
        self._reencryptor = reencryptor
        self._end_calls = end_calls
        self._locks = Locks()  # of domains here

    async def create(self, new: NewDomain, place: Place) -> Domain:
        """Make a domain and its default watchlist.

        Raises:
            InvalidRequest: the key is not named as keys are; the token was used otherwise.
            KeyDenied: the key cannot be used.
            KeyServiceDown: the key service does not answer.
            QuotaExceeded: the region has as many domains as it may.
        """
        made = await self._store.read(lambda tx: self._made_before(tx, new))
        if made is not None:
            return made
        now_ms = self._clock.now_ms()
        domain_id = unique_id()
        key_arn = await self._find(new.key_id, place)
        if key_arn is None:
            await self._store.read(lambda tx: tx.domains.require_room(place.region))
            key_arn = await self._make(new.key_id, place)
        domain = Domain(
            domain_id=domain_id,
            arn=place.arn(domain_id),
            region=place.region,
            name=new.name,
            description=new.description,
            kms_key_id=key_arn,
            old_kms_key_id=None,
            encryption_status=None,
            encryption_message=None,
            status="ACTIVE",
            default_watchlist_id=unique_id(),
            version=1,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        wrapped_key = await asyncio.to_thread(
            self._keys.new_domain_key, key_arn, domain_arn=domain.arn
        )

        def work(tx: Transaction) -> Domain:
            made = self._made_before(tx, new)
            if made is not None:
                return made
            tx.domains.add(domain, wrapped_key=wrapped_key, tags=new.tags)
            tx.watchlists.add(_default_watchlist(domain))
            tx.tokens.add(new.token, resource_id=domain_id, now_ms=now_ms)
            return domain

        return await self._store.write(work)

    async def update(
        self, domain_id: str, place: Place, *, name: str, description: str | None, key_id: str
    ) -> Domain:
        """Replace a domain's texts; with another key, begin to seal everything anew.

        Raises:
            NotFound: there is no such domain.
            Conflict: it is being re-encrypted, or another request changed it meanwhile.
            InvalidRequest: the key is not named as keys are.
            KeyDenied: the old or the new key cannot be used.
            KeyServiceDown: the key service does not answer.
        """
        domain = await self._store.read(lambda tx: tx.domains.get_active(domain_id))
        key_arn = await self._find(key_id, place)
        changed = replace(
            domain, name=name, description=description, updated_ms=self._clock.now_ms()
        )
        if key_arn == domain.kms_key_id:
            return await self._keep_key(changed)
        if domain.encryption_status == "IN_PROGRESS":
            raise Conflict(
                "DOMAIN_LOCKED_FROM_ENCRYPTION_UPDATES",
                "The domain is being re-encrypted; its key can be changed once that has ended.",
            )
        async with self._locks.of(domain_id):
            if key_arn is None:
                # Nobody changes the domain from here on: no key is made for what is refused.
                await self._require_unchanged(domain)
                key_arn = await self._make(key_id, place)
            updated = await self._change_key(changed, key_arn)
        self._reencryptor.wake()
        return updated

    async def delete(self, domain_id: str) -> None:
        """Make a domain cease to exist at once; its rows are erased later.

        Raises:
            NotFound: there never was such a domain, or it has been erased.
        """
        await self._end_calls(domain_id)
        now_ms = self._clock.now_ms()

        def work(tx: Transaction) -> None:
            if tx.domains.arn(domain_id) is not None:
                tx.domains.mark_deleted(domain_id, now_ms=now_ms)
            elif tx.domains.arn(domain_id, deleted_too=True) is None:
                raise NotFound("DOMAIN")

        await self._store.write(work)
        await self._end_calls(domain_id)  # of those that began meanwhile

    async def _keep_key(self, domain: Domain) -> Domain:
        # The same key after a failure means: try again.
        again = domain.encryption_status == "FAILED"
        if again:
            domain = replace(domain, encryption_status="IN_PROGRESS", encryption_message=None)

        def work(tx: Transaction) -> Domain:
            tx.domains.update(domain)
            return tx.domains.get(domain.domain_id)

        async with self._locks.of(domain.domain_id):
            updated = await self._store.write(work)
        if again:
            self._reencryptor.wake()
        return updated

    async def _change_key(self, domain: Domain, key_arn: str) -> Domain:
        wrapped_key = await asyncio.to_thread(
            self._keys.new_domain_key, key_arn, domain_arn=domain.arn
        )
        changed = replace(
            domain,
            kms_key_id=key_arn,
            old_kms_key_id=domain.kms_key_id,
            encryption_status="IN_PROGRESS",
            encryption_message=None,
        )

        def work(tx: Transaction) -> Domain:
            tx.domains.change_key(changed, wrapped_key=wrapped_key)
            return tx.domains.get(domain.domain_id)

        return await self._store.write(work)

    async def _require_unchanged(self, domain: Domain) -> None:
        now = await self._store.read(lambda tx: tx.domains.get_active(domain.domain_id))
        if now.version != domain.version:
            raise concurrent_changes()

    async def _find(self, key_id: str, place: Place) -> str | None:
        return await asyncio.to_thread(
            self._keys.find_customer_key,
            key_id,
            region=place.region,
            account_id=place.account_id,
        )

    async def _make(self, key_id: str, place: Place) -> str:
        return await asyncio.to_thread(
            self._keys.resolve_customer_key,
            key_id,
            region=place.region,
            account_id=place.account_id,
        )

    def _made_before(self, tx: Transaction, new: NewDomain) -> Domain | None:
        made = tx.tokens.find(new.token)
        return None if made is None else tx.domains.get(made)


class Reencryptor:
    """Seals domains anew whose key was changed; after a crash it goes on by itself."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    async def run(self) -> None:
        """Seal anew whatever has to be, for ever."""
        while True:
            self._woken.clear()
            try:
                for domain_id in await self._store.read(lambda tx: tx.domains.being_reencrypted()):
                    await self._reencrypt(domain_id)
            except Exception:  # noqa: BLE001 - it is tried again
                _log.exception("domains cannot be re-encrypted now")
            try:
                await asyncio.wait_for(self._woken.wait(), _LOOK_AGAIN_S)
            except TimeoutError:
                continue

    async def _reencrypt(self, domain_id: str) -> None:
        try:
            is_complete = False
            while not is_complete:
                position: Position | None = Position()
                while position is not None:
                    position = await self._step(domain_id, position)
                is_complete = await self._complete(domain_id)
        except (KeyDenied, SealBroken) as error:
            await self._fail(domain_id, str(error))
        except KeyServiceDown as error:
            _log.warning("domain %s waits for its key service: %s", domain_id, error)
        except NotFound:
            _log.info("domain %s was deleted while it was re-encrypted", domain_id)
        except Exception:  # noqa: BLE001 - other domains go on, and this one is tried again
            _log.exception("domain %s is not re-encrypted yet", domain_id)
        else:
            await self._store.scrub()  # the old data key, wrapped, is still in the log

    async def _step(self, domain_id: str, position: Position) -> Position | None:
        return await self._store.write(lambda tx: tx.reencryption.step(domain_id, position))

    async def _complete(self, domain_id: str) -> bool:
        # It reads every value there is: not in the writer's time.
        if await self._store.read(lambda tx: tx.reencryption.remains(domain_id)):
            return False

        def work(tx: Transaction) -> None:
            tx.domains.drop_old_keys(domain_id)
            tx.domains.set_encryption(domain_id, "COMPLETED", None, now_ms=self._clock.now_ms())

        await self._store.write(work)
        return True

    async def _fail(self, domain_id: str, reason: str) -> None:
        now_ms = self._clock.now_ms()
        await self._store.write(
            lambda tx: tx.domains.set_encryption(domain_id, "FAILED", reason, now_ms=now_ms)
        )


def _default_watchlist(domain: Domain) -> Watchlist:
    return Watchlist(
        watchlist_id=domain.default_watchlist_id,
        domain_id=domain.domain_id,
        name=_DEFAULT_WATCHLIST_NAME,
        description=_DEFAULT_WATCHLIST_DESCRIPTION,
        is_default=True,
        created_ms=domain.created_ms,
        updated_ms=domain.created_ms,
    )
