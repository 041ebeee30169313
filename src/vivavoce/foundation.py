"""What everything stands on: the data folder with its keys and its database."""

import contextlib
import fcntl
import ipaddress
import logging
import os
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

from vivavoce.clock import SystemClock
from vivavoce.errors import KeyUnavailable, SealBroken, SettingsInvalid, StoreError
from vivavoce.models.engines import Models, load_models
from vivavoce.models.registry import models_folder
from vivavoce.objects.folder import FolderObjects
from vivavoce.objects.objects import Objects
from vivavoce.settings import Settings
from vivavoce.store.access_keys import new_access_key
from vivavoce.store.acts import access_key_facts, service_record
from vivavoce.store.database import Mode
from vivavoce.store.quotas import AWS_QUOTAS, NO_QUOTAS, Quotas
from vivavoce.store.store import Store, Transaction, open_store
from vivavoce.vault.customer_keys import CustomerKeys
from vivavoce.vault.keyfile import load_or_create_root_key, sync_folder, write_private
from vivavoce.vault.keyring import KEYRING_FILE, LocalKeyring
from vivavoce.vault.seal import SealingKey
from vivavoce.vault.vault import Vault

DATABASE_FILE = "vivavoce.db"
ROOT_KEY_FILE = "root.key"
CREDENTIALS_FILE = "credentials"
OBJECTS_FOLDER = "objects"
WORK_FOLDER = "work"
"""Their names in the data folder; the keyring's is `KEYRING_FILE`."""

_FIRST_START_FILE = "first-start"
"""Is there until the first start has made everything: so a start that was broken off is told from
a folder that has lost its database."""

_ALLOW_ALL = (
    '{"Version": "2012-10-17", '
    '"Statement": {"Effect": "Allow", "Action": "voiceid:*", "Resource": "*"}}'
)


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What must be in order before a server can start: settings, models, keys, database."""

    settings: Settings
    models: Models
    load_models: Callable[[], Models]  # the same, in another process
    vault: Vault
    store: Store
    lock: IO[bytes]  # held as long as this process lives


def lay_foundation(settings: Settings) -> Foundation:
    """Open or create the data folder, load and check the models.

    Raises:
        VivavoceError: whatever keeps the server from starting, with what to do.
    """
    if settings.auth == "none" and not _is_loopback(settings.host):
        raise SettingsInvalid(
            "setting auth: 'none' is for a sandbox and listens on a loopback address only; "
            f"{settings.host} is not one"
        )
    load = partial(
        load_models,
        models_folder(settings.models_dir),
        speaker=settings.speaker_model,
        spoof=settings.spoof_model,
    )
    models = load()
    os.umask(0o077)  # what the database and its log hold is for this user alone
    folder = _data_folder(settings.data_dir)
    lock = _lock(folder)
    try:
        vault, store = _open_for_serving(settings, folder)
    except BaseException:
        lock.close()
        raise
    return Foundation(
        settings=settings, models=models, load_models=load, vault=vault, store=store, lock=lock
    )


def _open_for_serving(settings: Settings, folder: Path) -> tuple[Vault, Store]:
    """Open what is in the data folder; at the very first start, make it."""
    is_first = _is_first_start(folder)
    root_key = load_or_create_root_key(
        folder / ROOT_KEY_FILE, may_create=is_first and not (folder / DATABASE_FILE).exists()
    )
    vault = Vault(root_key, _customer_keys(settings, root_key), cache_s=settings.key_cache_s)
    store = _open(folder, vault, "create" if is_first else "write", quotas_of(settings))
    try:
        if settings.kms == "local":
            _require_keyring(folder, store, root_key)
        if not store.read_now(lambda tx: tx.access_keys.all()):
            if is_first:
                _add_first_access_key(store, folder)
            else:
                _log.warning("there are no access keys; make one with `vivavoce keys create`")
        if is_first:
            (folder / _FIRST_START_FILE).unlink()
            sync_folder(folder)
    except BaseException:
        store.close()
        raise
    return vault, store


@contextlib.contextmanager
def open_data(
    folder: Path, *, read_only: bool = False, settings: Settings | None = None
) -> Generator[Store]:
    """Open an existing data folder for a command; a server may be using it at the same time.

    Args:
        folder: the data folder.
        read_only: nothing is written, so that the folder may lie where nothing can be.
        settings: where customers' keys are, for a command that needs them; without, only what is
            in the keyring is opened.

    Raises:
        StoreError: there is no database, it is none of ours, or it cannot be opened.
        KeyUnavailable: the root key is missing, damaged, or another database's.
    """
    os.umask(0o077)
    root_key = _root_key(folder)
    keyring = _keyring(folder, root_key)
    customer_keys = keyring if settings is None else _customer_keys(settings, root_key)
    store = _open(folder, Vault(root_key, customer_keys), "read" if read_only else "write")
    try:
        yield store
    finally:
        store.close()


def open_keyring(folder: Path) -> LocalKeyring:
    """The local keyring of an existing data folder; nothing of it is read yet.

    Raises:
        StoreError: there is no database, so this is no server's folder.
        KeyUnavailable: the root key is missing or damaged.
    """
    return _keyring(folder, _root_key(folder))


def _root_key(folder: Path) -> bytes:
    """The root key of an existing data folder."""
    _require_database(folder)
    return load_or_create_root_key(folder / ROOT_KEY_FILE, may_create=False)


def _is_first_start(folder: Path) -> bool:
    """Whether nothing was ever served from this folder.

    Raises:
        StoreError: something was, but the database is gone.
    """
    mark = folder / _FIRST_START_FILE
    if not mark.exists() and not (folder / DATABASE_FILE).exists():
        _refuse_remains(folder)
        mark.touch()
        sync_folder(folder)
    return mark.exists()


def _require_database(folder: Path) -> None:
    if not (folder / DATABASE_FILE).exists():
        _refuse_remains(folder)
        raise StoreError(
            f"{folder} holds no vivavoce database; name the folder with --data-dir "
            "(`vivavoce serve` makes one at its first start)"
        )


def _refuse_remains(folder: Path) -> None:
    """What a first start makes is there without the database: that was lost."""
    made = (ROOT_KEY_FILE, KEYRING_FILE, CREDENTIALS_FILE)
    if remains := [name for name in made if (folder / name).exists()]:
        raise StoreError(
            f"{folder / DATABASE_FILE} is missing, but there is {' and '.join(remains)}; restore "
            "the database from your backup (to begin with an empty one, choose another folder)"
        )


def _keyring(folder: Path, root_key: bytes) -> LocalKeyring:
    return LocalKeyring(folder / KEYRING_FILE, SealingKey(root_key), may_create=False)


def _open(folder: Path, vault: Vault, mode: Mode, quotas: Quotas = NO_QUOTAS) -> Store:
    database = folder / DATABASE_FILE
    try:
        return open_store(f"sqlite:///{database.absolute()}", vault, quotas, mode=mode)
    except SealBroken as error:
        raise KeyUnavailable(
            f"{folder / ROOT_KEY_FILE} is not the key that {database} was sealed with; restore "
            "both from one backup"
        ) from error


def work_folder(settings: Settings) -> Path:
    """A folder for what is needed for a moment; empty, whatever a crash has left there.

    Raises:
        StoreError: it cannot be made.
    """
    folder = settings.data_dir.absolute() / WORK_FOLDER
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror}") from error
    return folder


def objects_of(settings: Settings) -> Callable[[], Objects]:
    """What opens the objects of batch jobs, in this process or another one."""
    if settings.objects == "folder":
        folder = settings.objects_dir or settings.data_dir / OBJECTS_FOLDER
        return partial(FolderObjects, folder.absolute())
    from vivavoce.objects.s3 import S3Objects  # noqa: PLC0415 - boto3 again, as for AWS KMS

    return partial(
        S3Objects,
        endpoint_url=settings.s3_endpoint_url,
        region=settings.s3_region,
        roles=settings.s3_roles,
    )


def _customer_keys(settings: Settings, root_key: bytes) -> CustomerKeys:
    if settings.kms == "local":
        return _keyring(settings.data_dir, root_key)
    # boto3 takes a tenth of a second to load, which most servers need not spend.
    from vivavoce.vault.awskms import AwsKms  # noqa: PLC0415

    return AwsKms(region=None, endpoint_url=settings.kms_endpoint_url)


def _require_keyring(folder: Path, store: Store, root_key: bytes) -> None:
    """The keyring's file is made once. Lost, it is an error: a new one could open nothing."""
    keyring = folder / KEYRING_FILE
    if keyring.exists():
        _keyring(folder, root_key).all_keys()  # a damaged file is told of now, not to callers
        return
    if store.read_now(lambda tx: tx.domains.exist()):
        raise KeyUnavailable(
            f"{keyring} is missing, but there are domains that were sealed with its keys; "
            "restore it from your backup"
        )
    LocalKeyring(keyring, SealingKey(root_key)).begin()


def quotas_of(settings: Settings) -> Quotas:
    """How much there may be."""
    preset = AWS_QUOTAS if settings.quotas == "aws" else NO_QUOTAS
    chosen = {
        "domains": settings.quota_domains,
        "watchlists": settings.quota_watchlists,
        "fraudsters": settings.quota_fraudsters,
        "speakers": settings.quota_speakers,
        "sessions": settings.quota_sessions,
        "enrollment_jobs": settings.quota_enrollment_jobs,
        "registration_jobs": settings.quota_registration_jobs,
        "enrollment_entries": settings.quota_enrollment_entries,
        "registration_entries": settings.quota_registration_entries,
    }
    return replace(preset, **{name: most for name, most in chosen.items() if most is not None})


def _data_folder(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the data folder {folder} cannot be made: {error.strerror}") from error
    return folder


def _lock(folder: Path) -> IO[bytes]:
    """Take the data folder for this process: two servers would end each other's calls."""
    try:
        file = (folder / "lock").open("wb")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StoreError(f"another vivavoce serves {folder}; stop it, or use another one") from None
    return file


def _add_first_access_key(store: Store, folder: Path) -> None:
    """Make the first access key and the shared-credentials file that clients read it from."""
    now_ms = SystemClock().now_ms()
    record = new_access_key(name="default", policy=_ALLOW_ALL, now_ms=now_ms)
    # The file comes first: a key in the database whose secret nobody was told would be lost.
    write_private(
        folder / CREDENTIALS_FILE,
        f"[default]\naws_access_key_id = {record.access_key_id}\n"
        f"aws_secret_access_key = {record.secret}\n",
    )

    def work(tx: Transaction) -> None:
        tx.access_keys.add(record)
        facts = access_key_facts(record)
        tx.audit.add(service_record("CreateAccessKey", at_ms=now_ms, **facts), now_ms)

    store.write_now(work)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
