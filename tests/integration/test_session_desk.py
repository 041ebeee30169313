"""Sessions, streams, enrolments, registrations. Source: voice-id-behaviour.md 7 and 9."""

import asyncio

import numpy as np
import pytest
from sqlalchemy import text

from tests import rows
from tests.integration.house import ANNA, BEN, TOKEN_LIFETIME_S, build_house, until
from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.errors import (
    AlreadyStreaming,
    AtCapacity,
    Conflict,
    InvalidRequest,
    NotEnoughSpeech,
    NotFound,
    SourceRefused,
    StreamTokenRejected,
)
from vivavoce.sessions.retention import Retention, Sweeper

pytestmark = pytest.mark.anyio

DAY_S = 86_400.0


async def conflict(doing):
    with pytest.raises(Conflict) as refused:
        await doing
    return refused.value.conflict_type


async def missing(doing):
    with pytest.raises(NotFound) as refused:
        await doing
    return refused.value.resource_type


async def enrol(house, name="call"):
    session, _ = await house.desk.enroll(rows.DOMAIN_ID, name)
    return session.enrollment_status


def expire(house):
    house.clock.ms += round(TOKEN_LIFETIME_S * 1000)


async def kept_s(house, name="call"):
    """Seconds of speech that the store keeps of a session."""

    def work(tx):
        speech = tx.sessions.speech(tx.sessions.get(rows.DOMAIN_ID, name))
        return None if speech is None else len(speech) / CALL_RATE_HZ

    return await house.store.read(work)


# --- starting


async def test_a_session_starts_with_the_defaults(house):
    session, _ = await house.start(None)
    assert len(session.name) == 36
    assert (session.acceptance_threshold, session.risk_threshold) == (90, 50)
    assert (session.authentication_minimum_s, session.watchlist_id) == (10, rows.WATCHLIST_ID)
    assert session.authentication_enabled
    assert session.fraud_detection_enabled
    assert session.streaming_status == "PENDING_CONFIGURATION"
    assert await house.session(session.session_id) == await house.session(session.name) == session


async def test_an_unknown_customer_id_becomes_a_pending_speaker_and_a_known_one_is_found(house):
    session, _ = await house.start(speaker_id="anna")
    assert await house.speaker_status("anna") == "PENDING"
    again, _ = await house.start("other", speaker_id=session.speaker_id)
    assert (again.customer_id, again.speaker_id) == ("anna", session.speaker_id)
    assert await missing(house.start("third", speaker_id="id#unknown")) == "SPEAKER"


async def test_a_refused_start_leaves_nothing_behind(house):
    assert await missing(house.start(speaker_id="anna", watchlist_id="w" * 22)) == "WATCHLIST"
    assert await missing(house.session()) == "SESSION"
    assert await missing(house.store.read(lambda tx: tx.speakers.get(rows.DOMAIN_ID, "anna")))
    assert await missing(house.start(domain_id="0" * 22)) == "DOMAIN"


async def test_a_name_with_a_stream_that_has_not_ended_is_another_active_stream(house):
    session, token = await house.start()
    assert await conflict(house.start()) == "ANOTHER_ACTIVE_STREAM"
    await house.open(session, token)
    assert await conflict(house.start()) == "ANOTHER_ACTIVE_STREAM"
    await house.desk.end(rows.DOMAIN_ID, "call")
    again, _ = await house.start()
    assert (again.session_id, again.stream_number) == (session.session_id, 2)


async def test_a_new_stream_keeps_the_configuration_that_it_is_not_given(house):
    await house.stream(ANNA, 1, speaker_id="anna", risk_threshold=7, acceptance_threshold=80)
    again, _ = await house.start(acceptance_threshold=70, fraud_detection_enabled=False)
    assert (again.risk_threshold, again.acceptance_threshold) == (7, 70)
    assert (again.customer_id, again.fraud_detection_enabled) == ("anna", False)
    assert (again.received_s, again.ended_ms, again.quality) == (0.0, None, "UNKNOWN")


async def test_a_stream_that_nobody_opened_in_time_has_ended(house):
    session, token = await house.start()
    expire(house)
    assert (await house.session()).streaming_status == "ENDED"
    with pytest.raises(StreamTokenRejected, match="expired"):
        await house.open(session, token)
    again, _ = await house.start()
    assert again.stream_number == 2


async def test_the_same_client_token_starts_one_session(house):
    first, _ = await house.start(None, client_token="t-1", risk_threshold=7)
    again, token = await house.start(None, client_token="t-1", risk_threshold=7)
    assert again == first
    await house.open(again, token)
    with pytest.raises(InvalidRequest):
        await house.start(None, client_token="t-1", risk_threshold=8)
    other, _ = await house.start(None, client_token="t-2", risk_threshold=7)
    assert other.session_id != first.session_id


async def test_over_capacity_no_session_is_started(store, vault, house):
    small = build_house(store, vault, limit=1)
    session, token = await small.start()
    await small.open(session, token)
    with pytest.raises(AtCapacity):
        await small.start("other")
    assert await missing(small.session("other")) == "SESSION"
    await small.desk.end(rows.DOMAIN_ID, "call")


async def test_sessions_are_listed_in_order_by_what_they_are_now(house):
    for name in ("a", "b", "c"):
        await house.start(name)
    await house.desk.end(rows.DOMAIN_ID, "b")

    async def listed(status, **page):
        found = await house.desk.list_sessions(
            rows.DOMAIN_ID, status=status, **{"after": 0, "size": 9} | page
        )
        assert all(status in (None, session.streaming_status) for _, session in found)
        return [session.name for _, session in found]

    assert await listed(None) == ["a", "b", "c"]
    assert await listed("PENDING_CONFIGURATION") == ["a", "c"]
    assert await listed(None, after=1, size=1) == ["b"]
    expire(house)
    assert await listed("PENDING_CONFIGURATION") == []
    assert await listed("ENDED") == ["a", "b", "c"]


# --- streaming


async def test_a_token_opens_its_own_stream_only(house):
    session, token = await house.start()
    other, other_token = await house.start("other")
    with pytest.raises(StreamTokenRejected, match="another session"):
        await house.open(session, other_token)
    await house.desk.end(rows.DOMAIN_ID, "call")
    again, _ = await house.start()
    with pytest.raises(StreamTokenRejected, match="earlier stream"):
        await house.open(again, token)
    await house.open(other, other_token)


async def test_a_second_connection_is_refused_until_the_first_is_lost(house):
    session, token = await house.start()
    call = await house.open(session, token)
    with pytest.raises(AlreadyStreaming):
        await house.open(session, token)
    call.detach(grace_s=30)
    expire(house)  # who was there in time may come back later
    assert await house.open(session, token) is call
    assert call.attached


async def test_of_two_connections_at_once_one_is_refused(house):
    session, token = await house.start()
    both = await asyncio.gather(
        house.open(session, token), house.open(session, token), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in both) == ["AlreadyStreaming", "LiveCall"]


async def test_an_ended_stream_is_not_opened_again(house):
    session, token = await house.start()
    await house.open(session, token)
    await house.desk.end(rows.DOMAIN_ID, "call")
    with pytest.raises(StreamTokenRejected):
        await house.open(session, token)


async def test_ending_decides_first_and_may_be_repeated(house):
    session, token = await house.start(authentication_enabled=False)
    call = await house.open(session, token)
    await house.say(call, ANNA, 11)
    ended, _ = await house.desk.end(rows.DOMAIN_ID, "call")
    assert (ended.streaming_status, ended.received_s) == ("ENDED", 11.0)
    assert ended.net_speech_s > 10.5
    assert (await house.evaluate()).fraud.decision == "LOW_RISK"
    again, _ = await house.desk.end(rows.DOMAIN_ID, "call")
    assert again == ended
    assert await missing(house.desk.end(rows.DOMAIN_ID, "nothing")) == "SESSION"


async def test_a_session_that_was_never_opened_can_be_ended(house):
    session, token = await house.start()
    ended, _ = await house.desk.end(rows.DOMAIN_ID, "call")
    assert ended.streaming_status == "ENDED"
    with pytest.raises(StreamTokenRejected):
        await house.open(session, token)


async def test_the_stream_ends_in_mid_call_when_all_speech_is_there(house):
    session, token = await house.start()
    call = await house.open(session, token)
    await house.say(call, ANNA, 31)
    await until(lambda: ended(house))
    assert call.attached
    again, second_token = await house.start()
    second = await house.open(again, second_token)  # takes the place of the first
    assert call.inbox.closed
    assert second.identity.stream_number == 2
    assert (await house.session()).streaming_status == "ONGOING"


async def ended(house, name="call"):
    return (await house.session(name)).streaming_status == "ENDED"


async def test_a_failing_engine_ends_the_stream(house):
    house.engines.failure = RuntimeError("no memory")
    session, token = await house.start()
    call = await house.open(session, token)
    await house.say(call, ANNA, 11)
    await until(lambda: ended(house))
    assert (await house.evaluate()).fraud.decision == "NOT_ENOUGH_SPEECH"


# --- updating


async def test_an_update_changes_what_it_names(house):
    await house.start(speaker_id="anna", risk_threshold=7)
    house.clock.ms += 5
    session = await house.update(acceptance_threshold=0)
    assert (session.acceptance_threshold, session.risk_threshold) == (0, 7)
    assert (session.customer_id, session.updated_ms) == ("anna", house.clock.ms)
    session = await house.update(speaker_id="ben")
    assert session.customer_id == "ben"
    assert await missing(house.update("nothing", risk_threshold=1)) == "SESSION"


# --- enrolling


async def test_an_enrolment_needs_a_speaker(house):
    await house.start()
    assert await conflict(house.desk.enroll(rows.DOMAIN_ID, "call")) == "SPEAKER_NOT_SET"


async def test_an_opted_out_speaker_is_not_enrolled_unless_deleted_first(house):
    await house.enroll("anna")
    await house.opt_out("anna")
    await house.stream(ANNA, 31, speaker_id="anna")
    assert await conflict(house.desk.enroll(rows.DOMAIN_ID, "call")) == "SPEAKER_OPTED_OUT"
    await house.delete_speaker("anna")
    assert await enrol(house) == "NOT_ENOUGH_SPEECH"  # what was heard before is forgotten too
    assert await house.speaker_status("anna") == "PENDING"
    await house.stream(ANNA, 31)
    assert (await house.session()).enrollment_status == "COMPLETED"
    assert await house.speaker_status("anna") == "ENROLLED"


async def test_one_enrolment_a_session_and_its_speaker_stays(house):
    session, _ = await house.start(speaker_id="anna")
    assert await enrol(house) == "NOT_ENOUGH_SPEECH"
    assert await conflict(house.desk.enroll(rows.DOMAIN_ID, "call")) == "ENROLLMENT_ALREADY_EXISTS"
    changing = house.update(speaker_id="ben")
    assert await conflict(changing) == "CANNOT_CHANGE_SPEAKER_AFTER_ENROLLMENT"
    assert (await house.update(speaker_id="anna")).speaker_id == session.speaker_id


async def test_a_requested_enrolment_completes_during_the_call(house):
    session, token = await house.start(speaker_id="anna")
    call = await house.open(session, token)
    await enrol(house)
    await house.say(call, ANNA, 31)
    await until(lambda: enrolment_is(house, "COMPLETED"))
    assert call.attached
    assert await house.speaker_status("anna") == "ENROLLED"


async def enrolment_is(house, status, name="call"):
    return (await house.session(name)).enrollment_status == status


@pytest.mark.parametrize("still_connected", [True, False])
async def test_an_enrolment_requested_after_the_speech_completes_at_once(house, still_connected):
    session, token = await house.start(speaker_id="anna")
    call = await house.open(session, token)
    await house.say(call, ANNA, 31)
    if still_connected:
        await until(lambda: ended(house))
    else:
        await house.desk.end(rows.DOMAIN_ID, "call")
    assert await enrol(house) == "COMPLETED"


async def test_speech_of_two_streams_adds_up_to_one_enrolment(house):
    await house.stream(ANNA, 16, speaker_id="anna")
    assert await enrol(house) == "NOT_ENOUGH_SPEECH"
    await house.stream(ANNA, 10)
    assert (await house.session()).enrollment_status == "NOT_ENOUGH_SPEECH"
    await house.stream(ANNA, 6)
    assert (await house.session()).enrollment_status == "COMPLETED"
    assert 30 * CALL_RATE_HZ in [len(speech) for speech in house.engines.heard]


async def test_enrolling_again_replaces_the_voice(house):
    await house.enroll("anna", BEN)
    await house.stream(ANNA, 31, speaker_id="anna")
    assert await enrol(house) == "COMPLETED"
    speaker_id = (await house.session()).speaker_id
    voiceprint = await house.store.read(lambda tx: tx.voiceprints.find(rows.DOMAIN_ID, speaker_id))
    np.testing.assert_array_equal(voiceprint.vector, house.engines.vectors[ANNA])


@pytest.mark.parametrize("change", ["opt_out", "delete_speaker"])
async def test_a_speaker_lost_while_the_voice_is_made_fails_the_enrolment(house, change):
    await house.stream(ANNA, 31, speaker_id="anna")
    house.engines.held = asyncio.Event()
    enrolling = asyncio.create_task(enrol(house))
    await until(lambda: enrolment_is(house, "IN_PROGRESS"))
    await getattr(house, change)("anna")
    house.engines.held.set()
    assert await enrolling == "FAILED"
    session = await house.session()
    assert session.enrollment_message
    assert await kept_s(house) is None
    voiceprint = await house.store.read(
        lambda tx: tx.voiceprints.find(rows.DOMAIN_ID, session.speaker_id)
    )
    assert voiceprint is None


async def test_an_enrolment_that_is_complete_is_not_begun_again(house):
    """A call's end may have read the session before the request completed the enrolment."""
    await house.stream(ANNA, 31, speaker_id="anna")
    await enrol(house)
    made = len(house.engines.heard)
    await house.desk._enrolments.complete_if_ready((await house.session()).session_id)
    assert len(house.engines.heard) == made
    assert (await house.session()).enrollment_status == "COMPLETED"


async def test_many_who_complete_an_enrolment_at_once_do_no_harm(house):
    await house.stream(ANNA, 31, speaker_id="anna")
    session = await house.session()
    await house.store.write(
        lambda tx: tx.sessions.update(session, enrollment_status="NOT_ENOUGH_SPEECH")
    )
    session = await house.session()
    done = await asyncio.gather(
        *(house.desk._enrolments.complete_if_ready(session.session_id) for _ in range(5))
    )
    assert {one.enrollment_status for one in done} == {"COMPLETED"}


async def test_an_engine_that_fails_fails_the_enrolment_visibly(house):
    await house.stream(ANNA, 31, speaker_id="anna")
    house.engines.failure = RuntimeError("broken")
    assert await enrol(house) == "FAILED"
    assert (await house.session()).enrollment_message == "Internal Server Error"


async def test_speech_of_two_voices_is_not_enrolled_and_the_reason_is_told(house):
    session, token = await house.start(speaker_id="anna")
    call = await house.open(session, token)
    await house.say(call, ANNA, 25)
    await house.say(call, BEN, 6)
    await house.desk.end(rows.DOMAIN_ID, "call")
    assert await enrol(house) == "FAILED"
    session = await house.session()
    assert session.enrollment_message == (
        "More than one voice was heard in the speech for the enrollment."
    )
    assert session.quality == "TWO_VOICES"
    assert await house.speaker_status("anna") == "PENDING"
    *_, ended, requested, failed = await house.announced()
    assert ended["session"]["audioQuality"] == "TWO_VOICES"
    assert requested["status"] == "SUBMITTED"
    assert (failed["status"], failed["generatedSpeakerId"]) == ("FAILED", None)
    assert failed["errorInfo"]["errorMessage"] == session.enrollment_message
    assert await conflict(enrol(house)) == "ENROLLMENT_ALREADY_EXISTS"


async def test_another_voice_in_the_next_stream_fails_the_enrolment_of_both(house):
    await house.stream(ANNA, 16, speaker_id="anna")
    assert await enrol(house) == "NOT_ENOUGH_SPEECH"
    await house.stream(BEN, 16)
    session = await house.session()
    assert session.enrollment_status == "FAILED"
    assert session.quality != "TWO_VOICES"  # of the last stream, in which there was one


async def test_who_speaks_up_over_a_known_speaker_leaves_the_voiceprint_as_it_was(house):
    await house.enroll("anna", ANNA)
    session, token = await house.start(speaker_id="anna")
    call = await house.open(session, token)
    await enrol(house)
    await house.say(call, ANNA, 20)
    await house.say(call, BEN, 11)
    await until(lambda: enrolment_is(house, "FAILED"))
    speaker_id = (await house.session()).speaker_id
    voiceprint = await house.store.read(lambda tx: tx.voiceprints.find(rows.DOMAIN_ID, speaker_id))
    np.testing.assert_array_equal(voiceprint.vector, house.engines.vectors[ANNA])
    assert await house.speaker_status("anna") == "ENROLLED"


async def test_two_voices_change_no_decision(house):
    await house.enroll("anna", ANNA)
    session, token = await house.start(speaker_id="anna")
    call = await house.open(session, token)
    await house.say(call, ANNA, 12)
    await house.say(call, BEN, 1)
    await house.desk.end(rows.DOMAIN_ID, "call")
    evaluation = await house.evaluate()
    assert evaluation.session.quality == "TWO_VOICES"
    assert evaluation.authentication.decision == "ACCEPT"
    assert evaluation.fraud.decision == "LOW_RISK"


async def test_speech_is_counted_once_after_an_enrolment_in_mid_call(house):
    await house.stream(ANNA, 16, speaker_id="anna")
    session, token = await house.start()
    call = await house.open(session, token)
    await house.say(call, ANNA, 21)

    async def heard():
        return call.progress.net_speech_samples >= 20 * CALL_RATE_HZ

    await until(heard)
    assert await enrol(house) == "COMPLETED"
    speech = await house.desk._enrolments.speech_of(await house.session())
    assert len(speech) / CALL_RATE_HZ < 38
    await call.end()


async def test_an_opt_out_before_an_enrolment_completes_leaves_none_of_the_speech(house):
    session, token = await house.start(speaker_id="anna")
    await house.desk.enroll(rows.DOMAIN_ID, "call")
    call = await house.open(session, token)
    await house.say(call, ANNA, 12)
    await house.opt_out("anna")
    await house.say(call, ANNA, 25)
    await call.end()
    assert (await house.session()).enrollment_status == "FAILED"
    assert await kept_s(house) is None


async def test_who_enrols_over_somebody_else_is_not_accepted_by_it(house):
    await house.enroll("anna")
    session, token = await house.start(speaker_id="anna")
    await house.desk.enroll(rows.DOMAIN_ID, "call")
    call = await house.open(session, token)
    await house.say(call, BEN, 31)
    await call.end()
    assert (await house.session()).enrollment_status == "COMPLETED"
    assert (await house.evaluate()).authentication.decision == "REJECT"
    await house.update(acceptance_threshold=91)
    again = (await house.evaluate()).authentication
    assert (again.decision, again.acceptance_threshold) == ("REJECT", 91)
    await house.stream(BEN, 11)
    assert (await house.evaluate()).authentication.decision == "ACCEPT"  # another stream


# --- registering fraudsters


async def test_the_caller_goes_on_the_watchlist(house):
    await house.stream(BEN, 11)
    fraudster = await house.desk.register_fraudster(rows.DOMAIN_ID, "call", None)
    assert fraudster.watchlist_ids == (rows.WATCHLIST_ID,)
    (wanted,) = await house.store.read(rows.on_watchlist)
    assert wanted.owner_id == fraudster.fraudster_id


async def test_too_little_speech_registers_nobody(house):
    await house.stream(BEN, 9)
    with pytest.raises(NotEnoughSpeech) as short:
        await house.desk.register_fraudster(rows.DOMAIN_ID, "call", None)
    assert short.value.needed_s == 10
    assert 8.5 < short.value.got_s <= 9.1
    assert await missing(
        house.desk.register_fraudster(rows.DOMAIN_ID, "call", "w" * 22)
    ) == "WATCHLIST"  # fmt: skip
    assert await missing(house.desk.register_fraudster(rows.DOMAIN_ID, "no", None)) == "SESSION"


async def test_a_live_caller_is_registered_too(house):
    session, token = await house.start()
    call = await house.open(session, token)
    await house.say(call, BEN, 12)
    await until(lambda: heard(call, 11))
    assert await house.desk.register_fraudster(rows.DOMAIN_ID, "call", None)


async def heard(call, seconds):
    return call.progress.net_speech_samples >= seconds * CALL_RATE_HZ


# --- announcing


async def announced(house):
    """What was announced: each action with what came of it."""
    return [(one["action"], one["status"]) for one in await house.announced()]


async def test_what_happens_to_a_session_is_announced_in_its_order(house):
    session, token = await house.start(speaker_id="anna")
    await house.desk.enroll(rows.DOMAIN_ID, "call")
    call = await house.open(session, token)
    await house.say(call, ANNA, 31)
    await house.desk.end(rows.DOMAIN_ID, "call")
    await house.update(risk_threshold=7)
    await house.desk.register_fraudster(rows.DOMAIN_ID, "call", None)
    for _ in range(2):  # ended and enrolled before: nothing happens
        await house.desk.end(rows.DOMAIN_ID, "call")
    told = await announced(house)
    told.remove(("ENROLL_SPEAKER", "SUCCEEDED"))  # during the call, or at its end
    assert told == [
        ("SESSION_ENROLLMENT_REQUEST", "SUBMITTED"),
        ("START_SESSION", "STREAMING_STARTED"),
        ("START_SESSION", "STREAMING_ENDED"),
        ("UPDATE_SESSION", "SUCCEEDED"),
        ("REGISTER_FRAUDSTER", "SUCCEEDED"),
    ]


async def test_what_is_refused_or_undone_is_not_announced_as_done(house):
    await house.start()
    await conflict(house.desk.enroll(rows.DOMAIN_ID, "call"))
    await missing(house.update(watchlist_id="w" * 22))
    with pytest.raises(NotEnoughSpeech):
        await house.desk.register_fraudster(rows.DOMAIN_ID, "call", None)
    assert await announced(house) == []


async def test_a_stream_that_a_crash_interrupted_is_announced_as_failed(house):
    session, token = await house.start()
    await house.open(session, token)
    again = build_house(house.store, house.vault)
    await again.desk.recover()
    assert (await announced(house))[-1] == ("START_SESSION", "STREAMING_FAILED")


# --- upkeep


async def test_after_a_crash_running_streams_have_ended_and_ready_enrolments_complete(house):
    await house.stream(ANNA, 31, "ready", speaker_id="anna")
    await house.stream(ANNA, 31, "requested", speaker_id="ben")
    _, token = await house.start("running")
    running = await house.session("running")
    await house.open(running, token)

    def crash(tx):
        """As if the process had died while voices were being made, or right before."""
        ready = tx.sessions.get(rows.DOMAIN_ID, "ready")
        tx.sessions.update(ready, enrollment_status="IN_PROGRESS")
        requested = tx.sessions.get(rows.DOMAIN_ID, "requested")
        tx.sessions.update(requested, enrollment_status="NOT_ENOUGH_SPEECH")

    await house.store.write(crash)
    again = build_house(house.store, house.vault)
    await again.desk.recover()
    assert (await again.session("running")).streaming_status == "ENDED"
    assert (await again.session("ready")).enrollment_status == "COMPLETED"
    assert (await again.session("requested")).enrollment_status == "COMPLETED"
    assert await again.speaker_status("anna") == await again.speaker_status("ben") == "ENROLLED"


RETENTION = Retention(
    speech_s=DAY_S, session_s=2 * DAY_S, speaker_s=90 * DAY_S, domain_s=30 * DAY_S
)


async def sweep(house):
    await Sweeper(store=house.store, clock=house.clock, retention=RETENTION).sweep()


async def test_speech_is_forgotten_a_day_after_its_stream_ended(house):
    await house.stream(ANNA, 3, "early")
    house.clock.ms += 1000
    await house.stream(ANNA, 3, "late")
    house.clock.ms += round(DAY_S * 1000) - 500
    await sweep(house)
    assert await kept_s(house, "early") is None
    assert await kept_s(house, "late") is not None
    assert (await house.session("early")).speech_s == 0


async def test_a_session_is_gone_after_its_retention_with_all_that_hangs_on_it(house):
    await house.stream(ANNA, 12)
    house.clock.ms += round(2 * DAY_S * 1000) + 1
    await sweep(house)
    with pytest.raises(NotFound):
        await house.session()
    rows_left = await house.store.read(
        lambda tx: tx.connection.execute(text("SELECT count(*) FROM evidence")).scalar_one()
    )
    assert rows_left == 0


async def test_changing_a_session_does_not_keep_its_speech_longer(house):
    await house.stream(ANNA, 3)
    house.clock.ms += round(DAY_S * 1000)
    await house.update(risk_threshold=7)
    house.clock.ms += 1
    await sweep(house)
    assert await kept_s(house) is None


async def test_a_new_stream_that_nobody_opens_does_not_keep_speech_for_ever(house):
    await house.stream(ANNA, 3)
    await house.start()
    house.clock.ms += round((DAY_S + TOKEN_LIFETIME_S) * 1000) + 1
    await sweep(house)
    assert await kept_s(house) is None


async def test_the_speech_of_a_running_stream_is_kept(house):
    await house.stream(ANNA, 3)
    session, token = await house.start()
    await house.open(session, token)
    house.clock.ms += round(3 * DAY_S * 1000)
    await sweep(house)
    assert await kept_s(house) is not None


async def test_an_opt_out_during_a_call_leaves_none_of_its_speech(house):
    session, token = await house.start(speaker_id="anna")
    call = await house.open(session, token)
    await house.say(call, ANNA, 12)
    await house.opt_out("anna")
    await call.end()
    assert await kept_s(house) is None


async def test_no_more_than_half_a_minute_of_speech_is_kept(house):
    for _ in range(3):
        await house.stream(ANNA, 14)
    assert await kept_s(house) == 30
    assert (await house.session()).speech_s == 30


async def test_a_stream_that_is_given_up_has_ended_and_is_announced_as_failed(house):
    session, token = await house.start()
    error = SourceRefused("there is no such stream")
    await house.desk.give_up_stream(session.session_id, session.stream_number, error)
    assert (await announced(house))[-1] == ("START_SESSION", "STREAMING_FAILED")
    assert (await house.announced())[-1]["errorInfo"] == {
        "errorCode": 400,
        "errorMessage": "there is no such stream",
        "errorType": "BAD_REQUEST",
    }
    now, _ = await house.desk.describe(rows.DOMAIN_ID, "call")
    assert now.streaming_status == "ENDED"
    with pytest.raises(StreamTokenRejected):
        await house.open(session, token)
    again, _ = await house.start()
    assert again.stream_number == session.stream_number + 1


async def test_a_stream_that_has_begun_and_the_next_one_cannot_be_given_up(house):
    session, token = await house.start()
    error = SourceRefused("there is no such stream")
    await house.desk.give_up_stream(session.session_id, session.stream_number + 1, error)
    await house.open(session, token)
    await house.desk.give_up_stream(session.session_id, session.stream_number, error)
    now, _ = await house.desk.describe(rows.DOMAIN_ID, "call")
    assert now.streaming_status == "ONGOING"
