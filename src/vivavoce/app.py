"""The composition root: builds everything from settings, starts it, and drains it."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from vivavoce.api.access import Guard
from vivavoce.api.audit import AuditLog
from vivavoce.api.description import load_service_model
from vivavoce.api.directory import DomainDirectory
from vivavoce.api.handlers import HANDLERS
from vivavoce.api.http import VoiceIdEndpoint
from vivavoce.api.keys import KeyDirectory
from vivavoce.api.paging import Pager
from vivavoce.api.records import CallRecorder
from vivavoce.api.services import Services
from vivavoce.api.throttle import AWS_TPS, Throttle
from vivavoce.call.calls import Calls
from vivavoce.clock import Clock, SystemClock
from vivavoce.errors import AuditBroken, SettingsInvalid
from vivavoce.events.delivery import DeliveryWorker
from vivavoce.events.eventbridge import EventBridgeSink
from vivavoce.events.jsonl import JsonLinesSink
from vivavoce.events.sink import Sink
from vivavoce.events.webhook import WebhookSink
from vivavoce.foundation import Foundation, objects_of, quotas_of, work_folder
from vivavoce.gateway.audio import AudioGateway
from vivavoce.gateway.audiohook import AudioHookGateway
from vivavoce.gateway.audiosocket import AudioSocketGateway
from vivavoce.gateway.delivery import Patience
from vivavoce.gateway.kinesis import KinesisGateway
from vivavoce.gateway.twilio import TwilioGateway
from vivavoce.jobs.conclusions import Concluder
from vivavoce.jobs.processes import HearingProcesses
from vivavoce.jobs.runner import JobRunner
from vivavoce.metrics import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Metrics,
    generate_latest,
    new_registry,
)
from vivavoce.models.engines import Engines
from vivavoce.sessions.announcer import Announcer
from vivavoce.sessions.desk import SessionDesk
from vivavoce.sessions.domains import DomainDesk, Reencryptor
from vivavoce.sessions.outbox import StoredOutbox
from vivavoce.sessions.reception import Reception
from vivavoce.sessions.retention import Retention, Sweeper
from vivavoce.settings import Settings
from vivavoce.store.store import Store

_SWEEP_S = 600.0
_COUNT_S = 60.0
_KEYS_S = 1.0
"""Access keys that a command made or revoked are in force after this."""

_DAY_S = 86_400.0
_DEAD_EVENTS_MS = 30 * 86_400_000
"""Events that were given up wait so long for an operator."""

_log = logging.getLogger(__name__)


def build_app(foundation: Foundation, *, audiosocket: socket.socket | None = None) -> Starlette:
    """The server as an ASGI application; its lifespan starts and drains what runs inside.

    Its `state.drain` does the latter before, while the connections of calls are still there to be
    told how they ended.

    Args:
        foundation: settings, keys, database and models.
        audiosocket: listens for Asterisk's AudioSocket, if that is served.
    """
    settings, vault, store = foundation.settings, foundation.vault, foundation.store
    clock = SystemClock()
    engines = Engines(foundation.models, load=foundation.load_models, processes=settings.processes)
    calls = Calls(
        engines=engines,
        new_detector=foundation.models.new_detector,
        limit=settings.max_calls,
        inbox_s=settings.inbox_s,
    )
    registry = new_registry(live_calls=lambda: len(calls))
    metrics = Metrics(registry, operations=HANDLERS)
    metrics.watch_queues(
        engine_waiting=lambda: engines.waiting, writer_waiting=lambda: store.waiting_writes
    )
    deliveries = _Deliveries(_sinks(settings, clock), store, clock)
    announcer = Announcer(store=store, sinks=deliveries.names, clock=clock, news=deliveries.news)
    desk = SessionDesk(
        store=store,
        calls=calls,
        encoder=engines,
        judge=foundation.models.judge,
        signer=vault.root,
        clock=clock,
        announcer=announcer,
        on_decision=metrics.decided,
        token_lifetime_s=settings.token_lifetime_s,
    )
    jobs = _job_runner(foundation, announcer, clock)
    reencryptor = Reencryptor(store=store, clock=clock)
    domains = DomainDesk(
        store=store, keys=vault, clock=clock, reencryptor=reencryptor, end_calls=desk.end_calls
    )
    patience = Patience(grace_s=settings.grace_s, idle_s=settings.idle_s)
    kinesis = KinesisGateway(desk, patience, endpoint_url=settings.kinesis_endpoint_url)
    directory = DomainDirectory(store)
    keys = KeyDirectory(lambda: store.read(lambda tx: tx.access_keys.all()), clock)
    service = load_service_model()
    endpoint = VoiceIdEndpoint(
        HANDLERS,
        service=service,
        services=Services(
            store=store,
            desk=desk,
            reader=kinesis,
            domains=domains,
            announcer=announcer,
            on_job=jobs.news,
            consent_given=settings.consent,
            clock=clock,
            pager=Pager(vault.root, clock),
            public_url=settings.public_url and settings.public_url.rstrip("/"),
        ),
        keys=None if settings.auth == "none" else keys,
        guard=Guard(account_id=settings.account_id, tags=directory, clock=clock),
        directory=directory,
        throttle=Throttle(_tps(settings), clock),
        audit=AuditLog(store, CallRecorder(service), everything=settings.audit == "all"),
        meter=metrics,
        account_id=settings.account_id,
        clock=clock,
    )
    telephone = AudioSocketGateway(desk, patience)
    monitor = _Monitor(store, calls, metrics, registry, sinks=deliveries.names, clock=clock)
    drain = partial(calls.drain, within_s=settings.drain_s)
    sweeper = Sweeper(store=store, clock=clock, retention=_retention(settings))

    upkeep = (
        _Upkeep("the access keys", keys.refresh, every_s=_KEYS_S),
        _Upkeep("streams without a call", desk.end_lost, every_s=_SWEEP_S),
        _Upkeep("what is old", sweeper.sweep, every_s=_SWEEP_S),
        *_chores(store, metrics, clock),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        await keys.refresh()
        await desk.recover()
        await store.write(lambda tx: tx.outbox.bury_strangers(deliveries.names))
        await _note_audit_head(store)
        if not settings.consent:
            _log.warning(
                "setting consent is false: CreateDomain is refused (ResourceNotFoundException, "
                "COMPLIANCE_CONSENT) until it is true"
            )
        deliveries.start()
        tasks = [asyncio.create_task(one.run()) for one in upkeep]
        tasks += [asyncio.create_task(reencryptor.run()), asyncio.create_task(jobs.run())]
        async with telephone.listening(audiosocket), kinesis.reading():
            yield
        for task in tasks:
            task.cancel()
        await drain()  # for whoever serves this application otherwise than `vivavoce serve`
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await engines.aclose()
        await asyncio.gather(*tasks, return_exceptions=True)
        await deliveries.stop()
        await _note_audit_head(store)
        store.close()

    app = Starlette(
        routes=[
            Route("/", endpoint),  # first: it is what most requests are for
            Route("/healthz", _alive),
            Route("/readyz", monitor.ready),
            Route("/metrics", monitor.show_metrics),
            *_audio_routes(desk, Reception(store=store, desk=desk, clock=clock), patience, clock),
        ],
        lifespan=lifespan,
    )
    app.state.drain = drain
    return app


def _job_runner(foundation: Foundation, announcer: Announcer, clock: Clock) -> JobRunner:
    settings, models = foundation.settings, foundation.models
    open_objects, folder = objects_of(settings), work_folder(settings)
    return JobRunner(
        store=foundation.store,
        objects=open_objects(),
        hearing=HearingProcesses(
            load=foundation.load_models,
            objects=open_objects,
            folder=folder,
            count=settings.batch_processes,
        ),
        concluder=Concluder(
            judge=models.judge,
            model=models.model,
            spoof_model=models.spoof_model,
            clock=clock,
            announcer=announcer,
        ),
        announcer=announcer,
        clock=clock,
        folder=folder,
        quotas=quotas_of(settings),
        is_strict=settings.batch_audio == "strict",
    )


def _audio_routes(
    desk: SessionDesk, reception: Reception, patience: Patience, clock: Clock
) -> list[WebSocketRoute]:
    audio = AudioGateway(desk, patience)
    return [
        WebSocketRoute("/v1/audio/{session_id}", audio.serve),
        WebSocketRoute("/v1/asterisk", audio.serve_asterisk),
        WebSocketRoute("/v1/audiohook", AudioHookGateway(reception, patience, clock).serve),
        WebSocketRoute("/v1/twilio", TwilioGateway(reception, patience).serve),
    ]


async def _alive(_: Request) -> Response:
    return JSONResponse({"status": "alive"})


class _Monitor:
    """What monitoring asks."""

    def __init__(
        self,
        store: Store,
        calls: Calls,
        metrics: Metrics,
        registry: CollectorRegistry,
        *,
        sinks: Sequence[str],
        clock: Clock,
    ) -> None:
        self._store = store
        self._calls = calls
        self._metrics = metrics
        self._registry = registry
        self._sinks = sinks
        self._clock = clock

    async def ready(self, _: Request) -> Response:
        await self._store.read(lambda tx: tx.domains.exist())
        if self._calls.draining:
            return JSONResponse({"status": "shutting down"}, status_code=503)
        return JSONResponse({"status": "ready", "calls": len(self._calls)})

    async def show_metrics(self, _: Request) -> Response:
        depths = await self._store.read(
            lambda tx: {sink: tx.outbox.depth(sink) for sink in self._sinks}
        )
        self._metrics.set_outbox_depths(depths, now_ms=self._clock.now_ms())
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


class _Upkeep:
    """Something done now and then as long as the server runs."""

    def __init__(self, what: str, do: Callable[[], Awaitable[None]], *, every_s: float) -> None:
        self._what = what
        self._do = do
        self._every_s = every_s

    async def run(self) -> None:
        """Do it, for ever."""
        while True:
            try:
                await self._do()
            except Exception:  # noqa: BLE001 - upkeep that fails is tried again, and calls go on
                _log.exception("upkeep of %s failed; trying again later", self._what)
            await asyncio.sleep(self._every_s)


def _chores(store: Store, metrics: Metrics, clock: Clock) -> tuple[_Upkeep, ...]:
    async def discard_dead() -> None:
        before_ms = clock.now_ms() - _DEAD_EVENTS_MS
        await store.write(lambda tx: tx.outbox.discard_dead_before(before_ms))

    async def count() -> None:
        now_ms = clock.now_ms()
        metrics.set_domain_counts(await store.read(lambda tx: tx.counts.of_domains(now_ms=now_ms)))

    return (
        _Upkeep("dead events", discard_dead, every_s=_SWEEP_S),
        _Upkeep("what there is", count, every_s=_COUNT_S),
    )


async def _note_audit_head(store: Store) -> None:
    """Note in the server's own log where the audit log ends, for `audit verify --expect`."""
    try:
        head = await store.read(lambda tx: tx.audit.head())
    except AuditBroken as error:
        _log.error("%s; nothing can be recorded, so changes are refused", error)
    else:
        _log.info("audit head %s", head)


class _Deliveries:
    """The workers that bring events to their sinks."""

    def __init__(self, sinks: Sequence[Sink], store: Store, clock: Clock) -> None:
        outbox = StoredOutbox(store)
        self.names = tuple(sink.name for sink in sinks)
        self._workers = [DeliveryWorker(sink, outbox=outbox, clock=clock) for sink in sinks]
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        for worker in self._workers:
            worker.start()

    def news(self) -> None:
        """There are events; called from the thread that committed them."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    async def stop(self) -> None:
        await asyncio.gather(*(worker.stop(grace_s=_GRACE_S) for worker in self._workers))

    def _wake(self) -> None:
        for worker in self._workers:
            worker.news()


_GRACE_S = 3.0


def _sinks(settings: Settings, clock: Clock) -> list[Sink]:
    sinks: list[Sink] = []
    if settings.events_file is not None:
        file = JsonLinesSink(settings.events_file)
        file.open()
        sinks.append(file)
    if settings.events_webhook_url is not None:
        if settings.events_webhook_secret is None:
            raise SettingsInvalid(
                "setting events_webhook_secret: events_webhook_url needs it; receivers tell by it "
                "that an event is yours"
            )
        secret = settings.events_webhook_secret.get_secret_value()
        sinks.append(WebhookSink(settings.events_webhook_url, secret, clock=clock))
    if settings.events_eventbridge is not None:
        sinks.append(
            EventBridgeSink(
                settings.events_eventbridge,
                region=settings.events_eventbridge_region,
                endpoint_url=settings.events_eventbridge_endpoint,
                source=settings.events_eventbridge_source,
            )
        )
    return sinks


def _tps(settings: Settings) -> Mapping[str, float]:
    if strangers := settings.throttle_tps.keys() - HANDLERS.keys():
        raise SettingsInvalid(f"setting throttle_tps: no such operation: {', '.join(strangers)}")
    return {**(AWS_TPS if settings.throttles == "aws" else {}), **settings.throttle_tps}


def _retention(settings: Settings) -> Retention:
    return Retention(
        speech_s=settings.speech_retention_s,
        session_s=settings.session_retention_s,
        speaker_s=settings.speaker_expiry_days * _DAY_S,
        domain_s=settings.domain_erase_days * _DAY_S,
    )
