"""The composition root: builds everything from settings, starts it, and drains it."""

import asyncio
import contextlib
import fcntl
import ipaddress
import logging
import os
import secrets
import string
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from vivavoce.api.description import load_service_model
from vivavoce.api.handlers import HANDLERS
from vivavoce.api.http import VoiceIdEndpoint
from vivavoce.api.services import Services
from vivavoce.call.calls import Calls
from vivavoce.clock import SystemClock
from vivavoce.errors import SettingsInvalid, StoreError
from vivavoce.gateway.native import NativeGateway, Patience
from vivavoce.metrics import CONTENT_TYPE_LATEST, generate_latest, new_registry
from vivavoce.models.engines import Engines, Models, load_models
from vivavoce.models.registry import models_folder
from vivavoce.sessions.desk import Retention, SessionDesk
from vivavoce.settings import Settings
from vivavoce.store.store import Store, open_store
from vivavoce.vault.keyfile import load_or_create_root_key, write_private
from vivavoce.vault.vault import Vault

_SWEEP_S = 600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What must be in order before a server can start: settings, models, keys, database."""

    settings: Settings
    models: Models
    vault: Vault
    store: Store
    secrets: dict[str, str] = field(repr=False)
    lock: IO[bytes]  # held as long as this process lives

    def secret_of(self, access_key_id: str) -> str | None:
        """The secret of an access key."""
        return self.secrets.get(access_key_id)


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
    models = load_models(
        models_folder(settings.models_dir),
        speaker=settings.speaker_model,
        spoof=settings.spoof_model,
    )
    os.umask(0o077)  # what the database and its log hold is for this user alone
    folder = _data_folder(settings.data_dir)
    lock = _lock(folder)
    database = folder / "vivavoce.db"
    vault = Vault(load_or_create_root_key(folder / "root.key", may_create=not database.exists()))
    store = open_store(f"sqlite:///{database.absolute()}", vault)
    return Foundation(
        settings=settings,
        models=models,
        vault=vault,
        store=store,
        secrets=store.access_keys() or _first_access_key(store, folder),
        lock=lock,
    )


def build_app(foundation: Foundation) -> Starlette:
    """The server as an ASGI application; its lifespan starts and drains what runs inside."""
    settings, vault, store = foundation.settings, foundation.vault, foundation.store
    clock = SystemClock()
    engines = Engines(
        foundation.models,
        max_batch=settings.max_batch,
        max_wait_ms=settings.max_wait_ms,
        threads=settings.threads,
    )
    calls = Calls(
        engines=engines,
        new_detector=foundation.models.new_detector,
        limit=settings.max_calls,
        inbox_s=settings.inbox_s,
        threads=settings.threads,
    )
    desk = SessionDesk(
        store=store,
        calls=calls,
        encoder=engines,
        judge=foundation.models.judge,
        signer=vault.root,
        clock=clock,
        token_lifetime_s=settings.token_lifetime_s,
    )
    retention = Retention(
        speech_s=settings.speech_retention_s, session_s=settings.session_retention_s
    )
    gateway = NativeGateway(desk, Patience(grace_s=settings.grace_s, idle_s=settings.idle_s))
    endpoint = VoiceIdEndpoint(
        HANDLERS,
        service=load_service_model(),
        services=Services(
            store=store,
            desk=desk,
            clock=clock,
            signer=vault.root,
            public_url=settings.public_url and settings.public_url.rstrip("/"),
        ),
        access_keys=None if settings.auth == "none" else foundation,
        account_id=settings.account_id,
        clock=clock,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        await desk.recover()
        sweeper = asyncio.create_task(_sweep(desk, retention))
        yield
        sweeper.cancel()
        try:
            async with asyncio.timeout(settings.drain_s):
                await calls.drain()
                await engines.aclose()
        except TimeoutError:
            _log.warning("%d calls were cut off after %g s", len(calls), settings.drain_s)
        calls.close()
        store.close()

    async def ready(_: Request) -> Response:
        await store.read(lambda tx: tx.domains.page(after=0, size=1))
        return JSONResponse({"status": "ready", "calls": len(calls)})

    registry = new_registry(live_calls=lambda: len(calls))

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/healthz", _alive),
            Route("/readyz", ready),
            Route("/metrics", metrics),
            WebSocketRoute("/v1/audio/{session_id}", gateway.serve),
            Route("/", endpoint),
        ],
        lifespan=lifespan,
    )


async def _alive(_: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _sweep(desk: SessionDesk, retention: Retention) -> None:
    """Forget what is old, now and every ten minutes."""
    while True:
        try:
            await desk.forget_old(retention)
        except Exception:  # noqa: BLE001 - upkeep that fails is tried again, and calls go on
            _log.exception("what is old could not be dropped; trying again in %d s", _SWEEP_S)
        await asyncio.sleep(_SWEEP_S)


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


def _first_access_key(store: Store, folder: Path) -> dict[str, str]:
    """Make the first access key and the shared-credentials file that clients read it from."""
    alphabet = string.ascii_uppercase + string.digits
    access_key_id = "VV" + "".join(secrets.choice(alphabet) for _ in range(18))
    secret = secrets.token_urlsafe(30)
    # The file comes first: a key in the database whose secret nobody was told would be lost.
    write_private(
        folder / "credentials",
        f"[default]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret}\n",
    )
    store.add_access_key(access_key_id, secret, now_ms=SystemClock().now_ms())
    return {access_key_id: secret}


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
