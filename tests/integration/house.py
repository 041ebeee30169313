"""A whole house without sockets and models: real store, real calls, made-up voices."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from tests import rows
from tests.fakes import FakeEngines, LoudDetector, StillClock, cut, straight_judge, towards, voice
from vivavoce.call.calls import Calls
from vivavoce.call.runner import LiveCall
from vivavoce.scoring.judge import Judge
from vivavoce.sessions import speakers
from vivavoce.sessions.announcer import Announcer
from vivavoce.sessions.desk import SessionDesk, SessionOptions, StartRequest
from vivavoce.sessions.evaluation import Evaluation
from vivavoce.store import tables
from vivavoce.store.records import Session
from vivavoce.store.store import Store, Transaction
from vivavoce.store.tokens import ClientToken
from vivavoce.vault.vault import Vault

ANNA, BEN = 3, 5
"""Two voices as unlike as voices can be."""

JUDGE = straight_judge()

TOKEN_LIFETIME_S = 900.0

SINK = "test"
"""Whom everything is announced to."""


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what the call does in its own time."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


@dataclass(kw_only=True)
class House:
    """What a test may look at and change."""

    store: Store
    vault: Vault
    engines: FakeEngines
    clock: StillClock
    calls: Calls
    desk: SessionDesk
    decisions: list[tuple[str, str, tuple[str, ...]]]

    async def start(self, name: str | None = "call", **members: Any) -> tuple[Session, str]:
        """Start a session; what is no member of the request is one of its options."""
        asked = {"SessionName": name, "ClientToken": members.pop("client_token", None), **members}
        request: dict[str, Any] = {
            "domain_id": rows.DOMAIN_ID,
            "authentication_enabled": None,
            "fraud_detection_enabled": None,
            "token": ClientToken.of(asked, scope="StartSession"),
        }
        request |= {key: members.pop(key) for key in list(members) if key in request}
        return await self.desk.start(
            StartRequest(name=name, options=SessionOptions(**members), **request)
        )

    async def open(self, session: Session, token: str) -> LiveCall:
        """Connect to a session's stream."""
        return await self.desk.open_stream(session.session_id, token)

    async def say(self, call: LiveCall, speaker: int, seconds: float) -> None:
        """Let a made-up voice speak in a call, in packets."""
        samples = voice(speaker, seconds)
        for piece in cut(samples, range(4000, len(samples), 4000)):
            await call.inbox.put(piece)

    async def stream(self, speaker: int, seconds: float, name: str = "call", **members: Any) -> str:
        """A whole stream from start to end; gives the session's id."""
        session, token = await self.start(name, **members)
        call = await self.open(session, token)
        await self.say(call, speaker, seconds)
        await self.desk.end(rows.DOMAIN_ID, session.session_id)
        return session.session_id

    async def enroll(self, customer_id: str, speaker: int = ANNA) -> None:
        """Enrol a caller in a session of their own."""
        name = f"enrolment-of-{customer_id}"
        await self.stream(speaker, 31, name, speaker_id=customer_id)
        session, _ = await self.desk.enroll(rows.DOMAIN_ID, name)
        assert session.enrollment_status == "COMPLETED"

    async def evaluate(self, name: str = "call") -> Evaluation:
        """Evaluate a session."""
        evaluation, _ = await self.desk.evaluate(rows.DOMAIN_ID, name)
        return evaluation

    async def session(self, name: str = "call") -> Session:
        """A session as the desk describes it."""
        session, _ = await self.desk.describe(rows.DOMAIN_ID, name)
        return session

    async def update(self, name: str = "call", **options: Any) -> Session:
        """Change a session."""
        session, _ = await self.desk.update(rows.DOMAIN_ID, name, SessionOptions(**options))
        return session

    async def speaker_status(self, customer_id: str) -> str:
        """A speaker's status in the store."""
        speaker = await self.store.read(lambda tx: tx.speakers.get(rows.DOMAIN_ID, customer_id))
        return speaker.status

    async def opt_out(self, customer_id: str) -> None:
        """What OptOutSpeaker does."""
        now_ms = self.clock.now_ms()
        await self.store.write(
            lambda tx: speakers.opt_out(tx, rows.DOMAIN_ID, customer_id, now_ms=now_ms)
        )

    async def delete_speaker(self, customer_id: str) -> None:
        """What DeleteSpeaker does."""
        await self.store.write(lambda tx: speakers.delete(tx, rows.DOMAIN_ID, customer_id))

    async def announced(self) -> list[dict[str, Any]]:
        """Details of all that was announced, in order."""

        def work(tx: Transaction) -> list[str]:
            waiting = select(tables.outbox.c.body).order_by(tables.outbox.c.sequence)
            return list(tx.connection.execute(waiting).scalars())

        return [json.loads(body)["detail"] for body in await self.store.read(work)]


def build_house(store: Store, vault: Vault, *, limit: int = 4, judge: Judge = JUDGE) -> House:
    """Build one in a store that has the domain of `rows`."""
    engines = FakeEngines(vectors={ANNA: towards(1), BEN: towards(0)})
    clock = StillClock()
    calls = Calls(engines=engines, new_detector=LoudDetector, limit=limit, inbox_s=30)
    decisions: list[tuple[str, str, tuple[str, ...]]] = []
    desk = SessionDesk(
        store=store,
        calls=calls,
        encoder=engines,
        judge=judge,
        signer=vault.root,
        clock=clock,
        announcer=Announcer(store=store, sinks=(SINK,), clock=clock, news=lambda: None),
        on_decision=lambda kind, decision, reasons: decisions.append(
            (kind, decision, tuple(reasons))
        ),
        token_lifetime_s=TOKEN_LIFETIME_S,
    )
    return House(
        store=store,
        vault=vault,
        engines=engines,
        clock=clock,
        calls=calls,
        desk=desk,
        decisions=decisions,
    )
