"""Batch jobs in a real store, with made-up voices in place of recordings."""

import asyncio
import json
from typing import Any

import pytest

from tests import rows
from tests.fakes import StillClock, spoof_evidence, straight_judge, towards
from tests.integration.house import SINK
from vivavoce.errors import (
    EntryFailed,
    NotEnoughSpeech,
    NotFound,
    ObjectsDown,
    RoleRefused,
)
from vivavoce.jobs.conclusions import Concluder
from vivavoce.jobs.hearing import Heard
from vivavoce.jobs.runner import JobRunner, _Key
from vivavoce.objects.folder import FolderObjects
from vivavoce.sessions import speakers
from vivavoce.sessions.announcer import Announcer
from vivavoce.store import tables
from vivavoce.store.quotas import NO_QUOTAS, Quotas
from vivavoce.store.store import open_store

pytestmark = pytest.mark.anyio

MODEL = rows.voiceprint().model
SPOOF_MODEL = "spoof@1"
ROLE = "arn:aws:iam::123456789012:role/voice"


class FakeHearing:
    """Hears what the names of files say: `0.9.wav` is a voice with that cosine to `towards(1)`.

    `failures` are raised for a name instead; `held` stops every answer until it is set.
    """

    def __init__(self):
        self.failures = {}
        self.spoofs = {}
        self.heard = []
        self.held: asyncio.Event | None = None
        self.rests = 0
        self.at_a_time = 2
        self.model = MODEL

    async def hear(self, request):
        name = request.files[0].uri.rpartition("/")[2]
        if self.held is not None:
            await self.held.wait()
        await asyncio.sleep(0)
        if (failure := self.failures.get(name)) is not None:
            raise failure
        self.heard.append(name)
        return Heard(
            speech=rows.SPEECH.repeat(30),
            vector=towards(float(name.split("_")[0].removesuffix(".wav"))),
            spoof=self.spoofs.get(name, spoof_evidence()),
            model=self.model,
            spoof_model=SPOOF_MODEL,
            weakness="too quiet" if "quiet" in name else None,
        )

    async def rest(self):
        self.rests += 1


class Office:
    """A job runner and what it works with."""

    def __init__(self, store, folder, quotas=NO_QUOTAS):
        self.quotas = quotas
        self.store = store
        self.folder = folder
        self.clock = StillClock()
        self.hearing = FakeHearing()
        self.objects = FolderObjects(folder)
        self.task = None
        (folder / "lists").mkdir(parents=True, exist_ok=True)
        (folder / "work").mkdir(exist_ok=True)

    def open(self):
        announcer = Announcer(store=self.store, sinks=(SINK,), clock=self.clock, news=lambda: None)
        self.runner = JobRunner(
            store=self.store,
            objects=self.objects,
            hearing=self.hearing,
            concluder=Concluder(
                judge=straight_judge(),
                model=MODEL,
                spoof_model=SPOOF_MODEL,
                clock=self.clock,
                announcer=announcer,
            ),
            announcer=announcer,
            clock=self.clock,
            folder=self.folder / "work",
            quotas=self.quotas,
            is_strict=False,
            waits_s=(0.01,),
        )
        self.task = asyncio.create_task(self.runner.run())

    async def close(self):
        task: Any = self.task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def submit(self, manifest, kind="speaker-enrollment", **options):
        if manifest is not None:
            content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
            (self.folder / "lists" / "list.json").write_bytes(content)
        known = {
            "speaker-enrollment": {
                "ExistingEnrollmentAction": "SKIP",
                "FraudDetectionConfig": {
                    "FraudDetectionAction": "FAIL",
                    "RiskThreshold": 50,
                    "WatchlistIds": None,
                },
            },
            "fraudster-registration": {
                "DuplicateRegistrationAction": "SKIP",
                "FraudsterSimilarityThreshold": 90,
                "WatchlistIds": None,
            },
        }[kind]
        number = len(await self.jobs()) + 1
        job = rows.job(
            job_id=f"job-{number:018}",
            kind=kind,
            status="SUBMITTED",
            input_uri="s3://lists/list.json",
            output_uri="s3://output/results/",
            options={**known, **options},
            percent_complete=0,
        )
        await self.store.write(lambda tx: tx.jobs.add(job))
        self.runner.news()
        return job

    async def jobs(self):
        def work(tx):
            return [row.job_id for row in tx.connection.execute(tables.jobs.select()).all()]

        return await self.store.read(work)

    async def job(self, job):
        return await self.store.read(lambda tx: tx.jobs.get(job.domain_id, job.job_id, job.kind))

    async def ended(self, job):
        async with asyncio.timeout(20):
            while (current := await self.job(job)).ended_ms is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return current

    def output(self, job):
        return json.loads(
            (self.folder / "output/results" / job.job_id / "list.json.out").read_text()
        )

    async def announced(self):
        def work(tx):
            waiting = tables.outbox.select().order_by(tables.outbox.c.sequence)
            return [json.loads(row.body)["detail"] for row in tx.connection.execute(waiting).all()]

        return await self.store.read(work)


@pytest.fixture
async def office(store, tmp_path):
    await store.write(rows.add_domain)
    office = Office(store, tmp_path / "objects")
    office.open()
    yield office
    await office.close()


def entry(number, name, **changes):
    return {
        "RequestId": f"r{number}",
        "SpeakerId": f"customer-{number}",
        "AudioSpecifications": [{"S3Uri": f"s3://calls/{name}", "ChannelId": 0}],
    } | changes


def enrolment(*names, **changes):
    requests = [entry(number, name, **changes) for number, name in enumerate(names)]
    return {"Version": "1.0", "SpeakerEnrollmentRequests": requests}


def registration(*names):
    requests = [entry(number, name) for number, name in enumerate(names)]
    return {"Version": "1.0", "FraudsterRegistrationRequests": requests}


def statuses(output):
    found = {error["RequestId"]: error["ErrorCode"] for error in output["Errors"]}
    for success in output.get("SuccessfulEnrollments", output.get("SuccessfulRegistrations")):
        status = success.get("EnrollmentStatus", success.get("RegistrationStatus"))
        found[success["RequestId"]] = status
    return found


async def test_speakers_are_enrolled_and_the_output_says_so(office):
    job = await office.submit(enrolment("0.1.wav", "0.2.wav", "0.3.wav"))
    ended = await office.ended(job)
    assert (ended.status, ended.percent_complete) == ("COMPLETED", 100)
    output = office.output(job)
    assert statuses(output) == dict.fromkeys(("r0", "r1", "r2"), "NEW_ENROLLMENT")
    (first, *_) = output["SuccessfulEnrollments"]
    speaker = await office.store.read(lambda tx: tx.speakers.get(rows.DOMAIN_ID, "customer-0"))
    assert (first["GeneratedSpeakerId"], first["CustomerSpeakerId"]) == (
        speaker.speaker_id,
        "customer-0",
    )
    assert speaker.status == "ENROLLED"
    voiceprint = await office.store.read(
        lambda tx: tx.voiceprints.find(rows.DOMAIN_ID, speaker.speaker_id)
    )
    assert voiceprint.reference.model == SPOOF_MODEL
    *entries, end = await office.announced()
    assert [(e["action"], e["status"], e["data"]) for e in entries] == [
        (
            "ENROLL_SPEAKER",
            "SUCCEEDED",
            {
                "enrollmentSource": "BATCH_ENROLLMENT",
                "enrollmentSourceId": job.job_id,
                "enrollmentStatus": "NEW_ENROLLMENT",
            },
        )
    ] * 3
    assert (end["action"], end["status"]) == ("BATCH_SPEAKER_ENROLLMENT_REQUEST", "COMPLETED")


async def test_what_fails_fails_alone_and_says_why(office):
    office.hearing.failures = {
        "0.1.wav": NotEnoughSpeech(needed_s=30, got_s=12),
        "0.2.wav": EntryFailed("More than one voice was heard."),
        "0.3.wav": EntryFailed("s3://calls/0.3.wav does not exist."),
        "0.4.wav": ZeroDivisionError("secret"),
    }
    office.hearing.spoofs = {"0.5.wav": spoof_evidence(synthetic=0.9)}
    manifest = enrolment(
        "0.1.wav", "0.2.wav", "0.3.wav", "0.4.wav", "0.5.wav", "0.6_quiet.wav", "0.7.wav"
    )
    requests: Any = manifest["SpeakerEnrollmentRequests"]
    requests.append(entry(7, "0.8.wav", SpeakerId="no such id"))
    ended = await office.ended(job := await office.submit(manifest))
    assert (ended.status, ended.percent_complete) == ("COMPLETED_WITH_ERRORS", 100)
    output = office.output(job)
    assert statuses(output) == dict.fromkeys(("r0", "r1", "r2", "r4", "r5", "r7"), 400) | {
        "r3": 500,
        "r6": "NEW_ENROLLMENT",
    }
    messages = {error["RequestId"]: error["ErrorMessage"] for error in output["Errors"]}
    assert messages["r0"] == ("The provided audio files do not have enough speech for enrollment.")
    assert "More than one voice" in messages["r1"]
    assert messages["r3"] == "Internal Server Error"
    assert "played back or synthetic" in messages["r4"]
    assert messages["r5"] == "too quiet"
    failed = [event for event in await office.announced() if event["status"] == "FAILED"]
    assert [event["errorInfo"]["errorMessage"] for event in failed] == list(messages.values())
    assert {event["generatedSpeakerId"] for event in failed} == {None}
    with pytest.raises(NotFound):
        await office.store.read(lambda tx: tx.speakers.get(rows.DOMAIN_ID, "customer-4"))


async def test_every_entry_may_fail_and_the_job_has_ended(office):
    office.hearing.failures = {"0.1.wav": EntryFailed("no")}
    ended = await office.ended(await office.submit(enrolment("0.1.wav")))
    assert ended.status == "COMPLETED_WITH_ERRORS"


async def test_who_is_enrolled_is_skipped_unheard_or_overwritten(office):
    await office.ended(await office.submit(enrolment("0.1.wav")))
    office.hearing.heard.clear()
    ended = await office.ended(job := await office.submit(enrolment("0.2.wav")))
    assert (ended.status, office.hearing.heard) == ("COMPLETED", [])
    assert statuses(office.output(job)) == {"r0": "DUPLICATE_SKIPPED"}
    job = await office.submit(enrolment("0.2.wav"), ExistingEnrollmentAction="OVERWRITE")
    await office.ended(job)
    assert statuses(office.output(job)) == {"r0": "ENROLLMENT_OVERWRITE"}
    speaker = await office.store.read(lambda tx: tx.speakers.get(rows.DOMAIN_ID, "customer-0"))
    voiceprint = await office.store.read(
        lambda tx: tx.voiceprints.find(rows.DOMAIN_ID, speaker.speaker_id)
    )
    assert voiceprint.vector[0] == pytest.approx(0.2)


async def test_a_customer_who_comes_twice_is_enrolled_by_the_first_entry(office):
    manifest = enrolment("0.1.wav", "0.2.wav", SpeakerId="twice")
    await office.ended(job := await office.submit(manifest))
    assert statuses(office.output(job)) == {"r0": "NEW_ENROLLMENT", "r1": "DUPLICATE_SKIPPED"}


async def test_who_opted_out_is_not_enrolled(office):
    await office.store.write(
        lambda tx: speakers.opt_out(tx, rows.DOMAIN_ID, "customer-0", now_ms=1)
    )
    await office.ended(job := await office.submit(enrolment("0.1.wav")))
    (error,) = office.output(job)["Errors"]
    assert error == {
        "RequestId": "r0",
        "ErrorCode": 409,
        "ErrorMessage": "You cannot request an enrollment for an opted out speaker",
    }
    assert office.hearing.heard == []


async def test_a_fraudster_is_not_enrolled_unless_that_is_ignored(office):
    await office.ended(await office.submit(registration("1.wav"), kind="fraudster-registration"))
    await office.ended(job := await office.submit(enrolment("0.99.wav")))
    (error,) = office.output(job)["Errors"]
    assert "known fraudster" in error["ErrorMessage"]
    check = {"FraudDetectionAction": "IGNORE", "RiskThreshold": 50, "WatchlistIds": None}
    job = await office.submit(enrolment("0.99.wav"), FraudDetectionConfig=check)
    await office.ended(job)
    assert statuses(office.output(job)) == {"r0": "NEW_ENROLLMENT"}


async def test_a_fraudster_who_is_known_is_a_duplicate_unless_registered_as_new(office):
    kind = "fraudster-registration"
    await office.ended(job := await office.submit(registration("1.wav", "0.99.wav", "0.wav"), kind))
    output = office.output(job)
    assert statuses(output) == {
        "r0": "NEW_REGISTRATION",
        "r1": "DUPLICATE_SKIPPED",
        "r2": "NEW_REGISTRATION",
    }
    first, duplicate, _ = output["SuccessfulRegistrations"]
    assert duplicate["GeneratedFraudsterId"] == first["GeneratedFraudsterId"]
    assert duplicate["FraudsterSimilarityScore"] >= 90
    assert "FraudsterSimilarityScore" not in first
    job = await office.submit(
        registration("0.99.wav"), kind, DuplicateRegistrationAction="REGISTER_AS_NEW"
    )
    await office.ended(job)
    assert statuses(office.output(job)) == {"r0": "NEW_REGISTRATION"}
    assert len(await office.store.read(rows.on_watchlist)) == 3
    events = [event for event in await office.announced() if event["action"] != job.kind]
    registered = [event for event in events if event["action"] == "REGISTER_FRAUDSTER"]
    assert [event["data"]["registrationStatus"] for event in registered] == [
        "NEW_REGISTRATION",
        "DUPLICATE_SKIPPED",
        "NEW_REGISTRATION",
        "NEW_REGISTRATION",
    ]


@pytest.mark.parametrize(
    ("manifest", "code", "message"),
    [
        (None, 400, "list.json does not exist"),
        (b"{", 400, "not JSON"),
        ({**enrolment("0.1.wav"), "Version": "2"}, 400, "input file version is invalid"),
    ],
)
async def test_a_job_without_a_manifest_fails(office, manifest, code, message):
    ended = await office.ended(await office.submit(manifest))
    assert (ended.status, ended.failure_code, ended.percent_complete) == ("FAILED", code, 0)
    assert message in ended.failure_message
    (event,) = await office.announced()
    assert (event["status"], event["errorInfo"]["errorCode"]) == ("FAILED", code)


async def test_a_job_whose_output_cannot_be_written_fails(office):
    (office.folder / "output").write_bytes(b"in the way")
    ended = await office.ended(await office.submit(enrolment("0.1.wav")))
    assert (ended.status, ended.failure_code) == ("FAILED", 403)
    assert "output cannot be written" in ended.failure_message


@pytest.mark.parametrize("trouble", [ObjectsDown("no answer"), RoleRefused("no such role")])
async def test_what_may_pass_holds_a_job_up_and_no_entry_is_lost(office, trouble):
    office.hearing.failures = {"0.2.wav": trouble}
    job = await office.submit(enrolment("0.1.wav", "0.2.wav", "0.3.wav"))
    async with asyncio.timeout(10):
        while (await office.job(job)).entries_done < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert (await office.job(job)).status == "IN_PROGRESS"
    office.hearing.failures.clear()
    assert (await office.ended(job)).status == "COMPLETED"
    assert set(statuses(office.output(job)).values()) == {"NEW_ENROLLMENT"}


async def test_models_that_were_replaced_meanwhile_hold_a_job_up(office):
    office.hearing.model = "another@1"
    job = await office.submit(enrolment("0.1.wav"))
    await asyncio.sleep(0.2)
    assert (await office.job(job)).entries_done == 0
    office.hearing.model = MODEL
    assert (await office.ended(job)).status == "COMPLETED"


async def test_too_little_speech_is_told_alike_in_output_and_event(office):
    office.hearing.failures = {"0.1.wav": NotEnoughSpeech(needed_s=30, got_s=12)}
    for manifest, kind in (
        (enrolment("0.1.wav"), "speaker-enrollment"),
        (registration("0.1.wav"), "fraudster-registration"),
    ):
        await office.ended(job := await office.submit(manifest, kind))
        (error,) = office.output(job)["Errors"]
        assert error["ErrorMessage"].startswith("The provided audio files do not have enough")
        *_, event, _ = await office.announced()
        assert event["errorInfo"]["errorMessage"] == error["ErrorMessage"]
        assert event["errorInfo"]["errorType"] == "NOT_ENOUGH_SPEECH"


async def test_a_job_that_has_ended_is_not_run_again(office):
    job = await office.submit(enrolment("0.1.wav"))
    await office.ended(job)
    output = office.output(job)
    key = _Key(job.domain_id, job.job_id, job.kind)
    await office.runner._try(key)
    assert office.output(job) == output
    ends = [e for e in await office.announced() if e["action"].startswith("BATCH")]
    assert len(ends) == 1


async def test_a_denied_key_holds_a_job_up(office, customer_keys):
    office.hearing.held = asyncio.Event()
    job = await office.submit(enrolment("0.1.wav"))
    async with asyncio.timeout(10):
        while (await office.job(job)).status != "IN_PROGRESS":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    domain = await office.store.read(lambda tx: tx.domains.get(rows.DOMAIN_ID))
    customer_keys.denied.add(domain.kms_key_id)
    office.hearing.held.set()
    await asyncio.sleep(0.2)
    customer_keys.denied.clear()
    assert (await office.ended(job)).status == "COMPLETED"


async def test_a_quota_of_entries_fails_the_job(store, tmp_path):
    await store.write(rows.add_domain)
    office = Office(store, tmp_path / "objects", Quotas(enrollment_entries=1))
    office.open()
    try:
        ended = await office.ended(await office.submit(enrolment("0.1.wav", "0.2.wav")))
        assert (ended.status, ended.failure_code) == ("FAILED", 402)
    finally:
        await office.close()


async def test_a_job_shows_how_far_it_is_and_its_entries_go_with_its_end(office):
    office.hearing.held = asyncio.Event()
    job = await office.submit(enrolment(*[f"0.{number}.wav" for number in range(1, 9)]))
    async with asyncio.timeout(10):
        while (await office.job(job)).status != "IN_PROGRESS":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await office.job(job)).entries == 8
    office.hearing.held.set()
    await office.ended(job)

    def entries(tx):
        return tx.connection.execute(tables.job_entries.select()).all()

    async with asyncio.timeout(10):
        while await office.store.read(entries):  # noqa: ASYNC110 - they go after the end
            await asyncio.sleep(0.01)


async def test_a_deleted_domain_takes_its_jobs_along(office):
    office.hearing.held = asyncio.Event()
    job = await office.submit(enrolment("0.1.wav", "0.2.wav"))
    async with asyncio.timeout(10):
        while (await office.job(job)).status != "IN_PROGRESS":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await office.store.write(lambda tx: tx.domains.mark_deleted(rows.DOMAIN_ID, now_ms=5))
    office.hearing.held.set()
    async with asyncio.timeout(10):
        while office.runner._running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not list((office.folder / "output").rglob("*.out"))


async def test_a_stopped_job_goes_on_where_it_was_and_nothing_is_done_twice(office):
    """At every point where it may be cut short: between entries, and before the output."""
    names = [f"0.{number:03}.wav" for number in range(1, 31)]
    job = await office.submit(enrolment(*names))
    for _ in range(10):
        await asyncio.sleep(0.01)
        await office.close()
        office.open()
    assert (await office.ended(job)).status == "COMPLETED"
    output = office.output(job)
    assert statuses(output) == {f"r{number}": "NEW_ENROLLMENT" for number in range(30)}
    speakers_there = await office.store.read(
        lambda tx: tx.speakers.page(rows.DOMAIN_ID, after=0, size=99)
    )
    assert len(speakers_there) == 30
    enrolled = [e for e in await office.announced() if e["action"] == "ENROLL_SPEAKER"]
    assert len(enrolled) == 30


async def test_the_quota_of_speakers_is_an_entrys_error(tmp_path, vault, empty_database):
    path = tmp_path / "vivavoce.db"
    path.write_bytes(empty_database)
    store = open_store(f"sqlite:///{path}", vault, Quotas(speakers=1))
    await store.write(rows.add_domain)
    office = Office(store, tmp_path / "objects")
    office.open()
    try:
        await office.ended(job := await office.submit(enrolment("0.1.wav", "0.2.wav")))
        assert statuses(office.output(job)) == {"r0": "NEW_ENROLLMENT", "r1": 402}
    finally:
        await office.close()
        store.close()
