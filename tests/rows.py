"""One row of each kind, to be changed by keyword."""

from dataclasses import replace
from typing import Any

import numpy as np

from tests.fakes import FakeCustomerKeys, spoof_evidence
from vivavoce.scoring.spoofing import SpoofReference
from vivavoce.store.records import (
    Domain,
    Evidence,
    Fraudster,
    Job,
    Result,
    Session,
    Speaker,
    Voiceprint,
    Watchlist,
)
from vivavoce.store.store import Transaction

DOMAIN_ID = "UcUuCPFOsAjzg9xoByUatN"
WATCHLIST_ID = "b1c2d3e4f5g6h7i8j9k0lm"
SESSION_ID = "id#CJA4lSzpzo5HFfP5L2h5lS"
SPEAKER_ID = "id#Izo7iCsoE5KCq5INFMnwsH"
FRAUDSTER_ID = "id#dsLMOu3G3fB73RzoP6UYZH"
JOB_ID = "hIjKlMnOpQrStUvWxYz012"
REGION = "us-east-1"
ACCOUNT_ID = "000000000000"
KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/first"
OTHER_KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/second"
TAGS = {"team": "fraud"}
VECTOR = np.array([0.6, -0.8, 0.0], np.float32)
SPEECH = np.arange(-4000, 4000, dtype=np.int16)

_DOMAIN = Domain(
    domain_id=DOMAIN_ID,
    arn=f"arn:aws:voiceid:{REGION}:{ACCOUNT_ID}:domain/{DOMAIN_ID}",
    region=REGION,
    name="retail-bank",
    description="Grüße an Anna",
    kms_key_id=KEY_ARN,
    old_kms_key_id=None,
    encryption_status=None,
    encryption_message=None,
    status="ACTIVE",
    default_watchlist_id=WATCHLIST_ID,
    version=1,
    created_ms=1_700_000_000_000,
    updated_ms=1_700_000_000_001,
)
_WATCHLIST = Watchlist(
    watchlist_id=WATCHLIST_ID,
    domain_id=DOMAIN_ID,
    name="default-watchlist",
    description="Whoever called Anna",
    is_default=True,
    created_ms=1_700_000_000_000,
    updated_ms=1_700_000_000_001,
)
_SPEAKER = Speaker(
    speaker_id=SPEAKER_ID,
    domain_id=DOMAIN_ID,
    customer_id="customer-4711",
    status="PENDING",
    created_ms=1,
    updated_ms=2,
    last_accessed_ms=None,
)
_FRAUDSTER = Fraudster(
    fraudster_id=FRAUDSTER_ID,
    domain_id=DOMAIN_ID,
    watchlist_ids=(WATCHLIST_ID,),
    created_ms=3,
)
_VOICEPRINT = Voiceprint(
    owner_id=SPEAKER_ID,
    domain_id=DOMAIN_ID,
    model="ge2e@0123456789ab",
    vector=VECTOR,
    created_ms=4,
    reference=SpoofReference(model="spoof@0123456789ab", raw={"synthetic": -1.5, "playback": 0.1}),
)
_SESSION = Session(
    session_id=SESSION_ID,
    domain_id=DOMAIN_ID,
    name="call-1",
    speaker_id=SPEAKER_ID,
    customer_id="customer-4711",
    authentication_enabled=True,
    fraud_detection_enabled=False,
    acceptance_threshold=90,
    risk_threshold=50,
    watchlist_id=WATCHLIST_ID,
    authentication_minimum_s=10,
    stream_number=1,
    streaming_status="ONGOING",
    stream_expires_ms=10_000,
    stream_started_ms=5_000,
    ended_ms=None,
    received_s=12.5,
    net_speech_s=7.25,
    lost_s=0.125,
    quality="GOOD",
    enrollment_status="FAILED",
    enrollment_message="The requested speaker does not exist",
    enrolled_stream=None,
    speech_s=0.0,
    created_ms=4_000,
    updated_ms=6_000,
)
_EVIDENCE = Evidence(
    session_id=SESSION_ID,
    stream_number=1,
    number=2,
    net_speech_s=10.016,
    started_ms=5_100,
    ended_ms=17_000,
    model="ge2e@0123456789ab",
    vector=VECTOR,
    spoof=spoof_evidence(-1.25, 0.5, windows=4),
)
_RESULT = Result(
    session_id=SESSION_ID,
    kind="authentication",
    result_id="xPMWAxFSWQ9CJrBXTaatds",
    basis=bytes(range(32)),
    body='{"decision": "ACCEPT"}',
    created_ms=7_000,
)
_JOB = Job(
    job_id=JOB_ID,
    domain_id=DOMAIN_ID,
    kind="speaker-enrollment",
    name="Customers of May",
    status="SUBMITTED",
    role_arn="arn:aws:iam::000000000000:role/batch",
    input_uri="s3://input/manifest.json",
    output_uri="s3://out/",
    output_kms_key_id=None,
    options={"ExistingEnrollmentAction": "SKIP"},
    percent_complete=0,
    failure_code=None,
    failure_message=None,
    created_ms=8_000,
    ended_ms=None,
)


def domain(**changes: Any) -> Domain:
    changed = replace(_DOMAIN, **changes)
    owner = f"arn:aws:voiceid:{changed.region}:{ACCOUNT_ID}"
    return replace(changed, arn=f"{owner}:domain/{changed.domain_id}")


def add_domain(tx: Transaction, **changes: Any) -> Domain:
    """Add a domain with its data key and its default watchlist."""
    added = domain(**changes)
    tx.domains.add(added, wrapped_key=wrapped_key(added), tags=TAGS)
    tx.watchlists.add(watchlist(watchlist_id=added.default_watchlist_id, domain_id=added.domain_id))
    return added


def wrapped_key(domain: Domain) -> bytes:
    """A data key of a domain, wrapped by the customer's key that the domain names."""
    return FakeCustomerKeys().new_data_key(domain.kms_key_id, domain_arn=domain.arn).wrapped


def watchlist(**changes: Any) -> Watchlist:
    return replace(_WATCHLIST, **changes)


def speaker(**changes: Any) -> Speaker:
    return replace(_SPEAKER, **changes)


def on_watchlist(
    tx: Transaction, domain_id: str = DOMAIN_ID, watchlist_id: str = WATCHLIST_ID
) -> list[Voiceprint]:
    """The voiceprints of the fraudsters on a watchlist, at most 99 of them."""
    page = tx.fraudsters.page(domain_id, watchlist_id=watchlist_id, after=0, size=99)
    found = [fraudster.fraudster_id for _, fraudster in page]
    return tx.voiceprints.of_fraudsters(domain_id, found)


def fraudster(**changes: Any) -> Fraudster:
    return replace(_FRAUDSTER, **changes)


def voiceprint(**changes: Any) -> Voiceprint:
    return replace(_VOICEPRINT, **changes)


def session(**changes: Any) -> Session:
    return replace(_SESSION, **changes)


def evidence(**changes: Any) -> Evidence:
    return replace(_EVIDENCE, **changes)


def result(**changes: Any) -> Result:
    return replace(_RESULT, **changes)


def job(**changes: Any) -> Job:
    return replace(_JOB, **changes)
