"""Runs batch jobs: begins them, has their entries heard, concludes these in order, and ends them.

A job is rows in the database. Whatever is cut short by a crash is done again from the last commit:
an entry that is concluded stays so, one that is not is heard again. Entries are heard side by side
and concluded one after the other in the order of the manifest, so that what comes of a job does not
depend on which was heard first: of two recordings of a fraudster it is always the second one that
is the duplicate.
"""

import asyncio
import json
import logging
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from vivavoce.clock import Clock
from vivavoce.errors import (
    Conflict,
    JobFailed,
    NotFound,
    ObjectError,
    ObjectsDown,
    VivavoceError,
)
from vivavoce.jobs.conclusions import HOLDING_UP, Concluder, NotHeard, Outcome
from vivavoce.jobs.hearing import Heard, Request
from vivavoce.jobs.manifest import LARGEST_BYTES, Entry, read_manifest
from vivavoce.jobs.output import write_output
from vivavoce.objects.objects import Objects, Place
from vivavoce.sessions import announcements
from vivavoce.sessions.announcer import Announcer
from vivavoce.store.database import may_pass
from vivavoce.store.quotas import NO_QUOTAS, Quotas
from vivavoce.store.records import Job, JobKind, JobStatus
from vivavoce.store.store import Store, Transaction

_PAGE = 200
"""Entries read or written in a transaction: writers of calls wait behind it for milliseconds."""

_WAITS_S = (5.0, 15.0, 60.0, 300.0)
"""After what may pass, such as S3 that does not answer, a job goes on after so long; the last one
is repeated."""

_GIVE_UP_S = 86_400.0
"""A job that could not go on for so long fails."""

_AT_A_TIME = 8
"""Jobs that are worked on side by side; one that waits for something gives its place away."""

_FORBIDDEN = 403

_CHECK = ".write_access_check_file.temp"

_ANNOUNCEMENTS = {
    "speaker-enrollment": announcements.speaker_enrollment_job,
    "fraudster-registration": announcements.fraudster_registration_job,
}

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Hearing(Protocol):
    """Has entries heard: in processes of this server, or elsewhere."""

    @property
    def at_a_time(self) -> int:
        """How many entries it makes sense to have heard side by side."""
        ...

    async def hear(self, request: Request) -> Heard:
        """What is heard of an entry.

        Raises:
            EntryFailed: a recording is missing, forbidden or unreadable, or there is more than one
                voice in them.
            NotEnoughSpeech: all of them together have too little.
            RoleRefused: the job's role gives no right to anything.
            ObjectsDown: the objects cannot be reached for now.
        """
        ...

    async def rest(self) -> None:
        """There is nothing to hear for now."""
        ...


@dataclass(frozen=True, slots=True)
class _Key:
    """Which job."""

    domain_id: str
    job_id: str
    kind: JobKind


class JobRunner:
    """The jobs of this process."""

    def __init__(
        self,
        *,
        store: Store,
        objects: Objects,
        hearing: Hearing,
        concluder: Concluder,
        announcer: Announcer,
        clock: Clock,
        folder: Path,
        quotas: Quotas = NO_QUOTAS,
        is_strict: bool,
        waits_s: tuple[float, ...] = _WAITS_S,
    ) -> None:
        """Put together.

        Args:
            store: the state.
            objects: where manifests are and output goes.
            hearing: has entries heard.
            concluder: does what follows from that.
            announcer: tells of jobs that end.
            clock: the time.
            folder: where copies of objects may be put; they are removed.
            quotas: how many entries a job may have.
            is_strict: whether only recordings that Amazon's service took are taken.
            waits_s: how long to wait before what failed is tried again.
        """
        self._store = store
        self._objects = objects
        self._hearing = hearing
        self._concluder = concluder
        self._announcer = announcer
        self._clock = clock
        self._is_strict = is_strict
        self._waits_s = waits_s
        self._folder = folder
        self._quotas = quotas
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[_Key, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(_AT_A_TIME)
        self._threads = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="jobs")

    def news(self) -> None:
        """There is a job to run; from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._news.set)

    async def run(self) -> None:
        """Run what there is, for ever; what a crash or a stop has interrupted goes on first."""
        self._loop = asyncio.get_running_loop()
        self._news.set()
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                try:
                    await self._look()
                except Exception:  # noqa: BLE001 - whatever it is, it must not end all jobs
                    _log.exception("batch jobs cannot be looked for; trying again")
                    self._loop.call_later(self._waits_s[0], self._news.set)
        finally:
            running = list(self._running.values())
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self._hearing.rest()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look(self) -> None:
        """Begin what is there to do."""
        for job_id in await self._store.read(lambda tx: tx.jobs.ended_with_entries()):
            await self._remove_entries(job_id)
        for key in (_Key(*each) for each in await self._store.read(lambda tx: tx.jobs.active())):
            if key not in self._running:
                self._running[key] = asyncio.create_task(self._run(key), name=f"job {key.job_id}")
        if not self._running:
            await self._hearing.rest()

    async def _run(self, key: _Key) -> None:
        try:
            await self._run_to_its_end(key)
        except Exception:  # noqa: BLE001 - one job must not take the others along
            _log.exception("job %s cannot go on; trying again later", key.job_id)
            await asyncio.sleep(self._waits_s[-1])
        finally:
            del self._running[key]
            self._news.set()

    async def _run_to_its_end(self, key: _Key) -> None:
        """Try again and again what may pass."""
        loop = asyncio.get_running_loop()
        began_s, done, failures = loop.time(), -1, 0
        while True:
            try:
                async with self._places:
                    await self._try(key)
            except NotFound:
                _log.info("job %s ends with its domain", key.job_id)
            except JobFailed as error:
                await self._fail(key, error)
            except Exception as error:  # noqa: BLE001 - whoever polls must learn that it failed
                if not (isinstance(error, (*HOLDING_UP, Conflict, OSError)) or may_pass(error)):
                    _log.exception("job %s failed", key.job_id)
                    await self._fail(key, JobFailed(500, "Internal Server Error"))
                    return
                now = await self._store.read(lambda tx: tx.jobs.entries_done(key.job_id))
                if now > done:  # it has come further since
                    began_s, done, failures = loop.time(), now, 0
                if loop.time() - began_s < _GIVE_UP_S:
                    _log.warning("job %s waits: %s", key.job_id, error)
                    await asyncio.sleep(self._waits_s[min(failures, len(self._waits_s) - 1)])
                    failures += 1
                    continue
                await self._fail(key, JobFailed(500, f"It could not go on for a day: {error}"))
            return

    async def _try(self, key: _Key) -> None:
        job = await self._get(key)
        if job.ended_ms is not None:
            return
        if job.status == "SUBMITTED":
            job = await self._begin(job)
        job = await self._conclude_all(job)
        await self._end(job)

    async def _get(self, key: _Key) -> Job:
        return await self._store.read(lambda tx: _get(tx, key))

    async def _begin(self, job: Job) -> Job:
        """Read the manifest and write down its entries."""
        entries = await self._in_thread(self._read_manifest, job)
        await self._in_thread(self._check_output, job)
        # A crash may have come between these, and the manifest may be another one since.
        await self._remove_entries(job.job_id)
        for first in range(0, len(entries), _PAGE):
            requests = [entry.to_json() for entry in entries[first : first + _PAGE]]
            await self._store.write(
                lambda tx, requests=requests, first=first: tx.jobs.put_entries(
                    job, requests, first=first
                )
            )
        return await self._store.write(
            lambda tx: tx.jobs.update(job, status="IN_PROGRESS", entries=len(entries))
        )

    async def _in_thread(self, work: Callable[[Job], T], job: Job) -> T:
        """Something that waits for objects, in a thread that nobody else waits for."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, job)

    async def _remove_entries(self, job_id: str) -> None:
        while await self._store.write(lambda tx: tx.jobs.remove_some_entries(job_id, size=_PAGE)):
            pass

    def _read_manifest(self, job: Job) -> list[Entry]:
        most = {
            "speaker-enrollment": self._quotas.enrollment_entries,
            "fraudster-registration": self._quotas.registration_entries,
        }[job.kind]
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            copy = Path(folder) / "manifest"
            try:
                place = Place.of(job.input_uri)
                self._objects.fetch(place, copy, role_arn=job.role_arn, limit_bytes=LARGEST_BYTES)
            except ObjectError as error:
                # What is missing is a bad request to Amazon's service.
                code = 403 if error.code == _FORBIDDEN else 400
                raise JobFailed(code, f"The manifest cannot be read: {error}") from error
            return read_manifest(copy.read_bytes(), job.kind, most=most)

    def _check_output(self, job: Job) -> None:
        """Write an empty object beside the output to come: better now than after hours of work.

        Amazon's services leave one of this name for the same reason.
        """
        try:
            Place.of(f"{job.output_uri.rstrip('/')}/{job.job_id}/{_output_name(job)}")
            with tempfile.NamedTemporaryFile(dir=self._folder) as nothing:
                self._store_output(job, _CHECK, Path(nothing.name))
        except ObjectError as error:
            code = 403 if error.code == _FORBIDDEN else 400
            raise JobFailed(code, f"The output cannot be written: {error}") from error

    async def _conclude_all(self, job: Job) -> Job:
        """Have entries heard, some ahead of the one that is concluded next."""
        ahead: deque[tuple[int, Entry, asyncio.Task[Heard | Exception | None]]] = deque()
        entries = self._open_entries(job)
        try:
            while True:
                while len(ahead) < 2 * self._hearing.at_a_time:
                    following = await anext(entries, None)
                    if following is None:
                        break
                    number, entry = following
                    task = asyncio.create_task(self._hear(job, entry))
                    ahead.append((number, entry, task))
                if not ahead:
                    return job
                number, entry, task = ahead[0]
                job = await self._conclude(job, number, entry, await task)
                ahead.popleft()
        finally:
            await entries.aclose()
            for _, _, task in ahead:
                task.cancel()
            await asyncio.gather(*(task for _, _, task in ahead), return_exceptions=True)

    async def _open_entries(self, job: Job) -> AsyncGenerator[tuple[int, Entry]]:
        after = -1
        while True:
            page = await self._store.read(
                lambda tx, after=after: tx.jobs.entries(job, is_done=False, after=after, size=_PAGE)
            )
            for each in page:
                yield each.number, Entry.from_json(each.request)
            if len(page) < _PAGE:
                return
            after = page[-1].number

    async def _hear(self, job: Job, entry: Entry) -> Heard | Exception | None:
        """What was heard of an entry, or why it could not be; None where it need not be."""
        needed = await self._store.read(lambda tx: self._concluder.needs_hearing(tx, job, entry))
        return await self._hear_now(job, entry) if needed else None

    async def _hear_now(self, job: Job, entry: Entry) -> Heard | Exception:
        request = Request(files=entry.files, role_arn=job.role_arn, is_strict=self._is_strict)
        try:
            return await self._hearing.hear(request)
        except HOLDING_UP:
            raise
        except Exception as error:  # noqa: BLE001 - it is the entry's, and told as its outcome
            if not isinstance(error, VivavoceError):
                _log.error("an entry of job %s failed", job.job_id, exc_info=error)
            return error

    async def _conclude(
        self, job: Job, number: int, entry: Entry, heard: Heard | Exception | None
    ) -> Job:
        key = _Key(job.domain_id, job.job_id, job.kind)

        def work(tx: Transaction) -> Job:
            current = _get(tx, key)
            outcome, is_failed = self._concluder.conclude(tx, current, entry, heard)
            return tx.jobs.conclude(current, number, json.dumps(outcome), is_failed=is_failed)

        if self._concluder.searches(job):
            await self._store.open_gallery(job.domain_id, self._concluder.model)
        try:
            return await self._store.write(work)
        except NotHeard:
            heard = await self._hear_now(job, entry)
            return await self._store.write(work)

    async def _end(self, job: Job) -> None:
        """Write the output, and say that the job has ended."""
        await self._in_thread(self._write_output, job)
        status: JobStatus = "COMPLETED_WITH_ERRORS" if job.entries_failed else "COMPLETED"

        def work(tx: Transaction) -> None:
            current = _get(tx, _Key(job.domain_id, job.job_id, job.kind))
            self._close(tx, current, status=status, percent_complete=100)

        await self._store.write(work)
        await self._remove_entries(job.job_id)

    def _write_output(self, job: Job) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            copy = Path(folder) / "output"
            write_output(copy, job.kind, lambda: self._outcomes(job))
            try:
                self._store_output(job, _output_name(job), copy)
            except ObjectError as error:
                # It could be written when the job began: hours of work are not thrown away.
                raise ObjectsDown(f"the output cannot be written: {error}") from error

    def _store_output(self, job: Job, name: str, content: Path) -> None:
        """Write an object at `<uri>/<JobId>/<name>`."""
        self._objects.store(
            Place.of(f"{job.output_uri.rstrip('/')}/{job.job_id}/{name}"),
            content,
            role_arn=job.role_arn,
            kms_key_id=job.output_kms_key_id,
        )

    def _outcomes(self, job: Job) -> Iterator[tuple[Outcome, bool]]:
        after = -1
        while True:
            page = self._store.read_now(
                lambda tx, after=after: tx.jobs.entries(job, is_done=True, after=after, size=_PAGE)
            )
            for each in page:
                yield json.loads(each.outcome or "{}"), each.is_failed
            if len(page) < _PAGE:
                return
            after = page[-1].number

    async def _fail(self, key: _Key, error: JobFailed) -> None:
        def work(tx: Transaction) -> None:
            # Its name is not asked for: a job must be able to fail of a key that is denied.
            current = tx.jobs.find_nameless(key.job_id)
            if current is not None:
                self._close(
                    tx,
                    current,
                    status="FAILED",
                    failure_code=error.code,
                    failure_message=str(error),
                )

        await self._store.write(work)
        await self._remove_entries(key.job_id)

    def _close(self, tx: Transaction, job: Job, **changes: object) -> None:
        """Say that a job has ended, once."""
        if job.ended_ms is not None:
            return
        now_ms = self._clock.now_ms()
        ended = tx.jobs.update(job, ended_ms=now_ms, **changes)
        self._announcer.announce(
            tx,
            lambda: _ANNOUNCEMENTS[job.kind](
                tx.domains.arn(job.domain_id, deleted_too=True) or "", ended, now_ms=now_ms
            ),
        )


def _get(tx: Transaction, key: _Key) -> Job:
    return tx.jobs.get(key.domain_id, key.job_id, key.kind)


def _output_name(job: Job) -> str:
    return f"{job.input_uri.rpartition('/')[2]}.out"
