"""Callers of the AWS face: with keys of their own, and with requests that no SDK would send.

And a furnished domain: one with one of everything in it, so that every operation has something to
be asked of.
"""

import contextlib
import http.client
import json
import secrets
from dataclasses import dataclass, replace
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests import rows
from tests.fakes import spoof_evidence
from tests.server import wait_for
from vivavoce.api.description import data_path
from vivavoce.clock import SystemClock
from vivavoce.foundation import open_data
from vivavoce.ids import generated_id
from vivavoce.models.card import read_card
from vivavoce.models.registry import find, models_folder
from vivavoce.store.access_keys import AccessKeyRecord
from vivavoce.store.records import SpeakerStatus
from vivavoce.store.store import open_store
from vivavoce.vault.keyfile import load_or_create_root_key
from vivavoce.vault.vault import Vault

REGION = "us-east-1"
ACCOUNT_ID = "000000000000"
KEY = {"KmsKeyId": "alias/test"}
NOBODY = "id#aaaaaaaaaaaaaaaaaaaaaa"
NOTHING = "aaaaaaaaaaaaaaaaaaaaaa"
ROLE = "arn:aws:iam::123456789012:role/voice-jobs"

ANNA, CARLO = 1, 2
"""Two voices that are nothing like each other."""


# --- keys and clients


def policy(*actions, resource="*", effect="Allow", condition=None):
    """A policy of one statement."""
    statement = {"Effect": effect, "Action": list(actions), "Resource": resource}
    if condition is not None:
        statement["Condition"] = condition
    return {"Version": "2012-10-17", "Statement": [statement]}


def arn_of(domain_id, region=REGION):
    return f"arn:aws:voiceid:{region}:{ACCOUNT_ID}:domain/{domain_id}"


def own_key(server):
    """The key of the server's first start, which may do everything."""
    access_key_id, secret = server.access_key
    return AccessKeyRecord(
        access_key_id=access_key_id,
        name="default",
        secret=secret,
        session_token=None,
        policy="{}",
        created_ms=0,
        expires_ms=None,
    )


def make_keys(server, *policies, lifetime_ms=None):
    """Access keys, one a policy, made beside the running server, which knows them on return."""
    now_ms = SystemClock().now_ms()
    keys = [
        AccessKeyRecord(
            access_key_id=f"{'VV' if lifetime_ms is None else 'VT'}TEST{secrets.token_hex(6)}",
            name=f"tester-{number}",
            secret=secrets.token_urlsafe(30),
            session_token=None if lifetime_ms is None else secrets.token_urlsafe(48),
            policy=json.dumps(each),
            created_ms=now_ms,
            expires_ms=None if lifetime_ms is None else now_ms + lifetime_ms,
        )
        for number, each in enumerate(policies, start=1)
    ]

    def add(tx):
        for key in keys:
            tx.access_keys.add(key)

    with open_data(server.data_dir) as store:
        store.write_now(add)
    for key in keys:
        caller = Caller(server, key)
        wait_for(
            lambda caller=caller: (
                caller.code_of("DescribeDomain", {}) != "UnrecognizedClientException"
            )
        )
    return keys


def connect(server, key=None, region=REGION):
    """boto3 with the session operations."""
    key = key or own_key(server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DATA_PATH", str(data_path()))
        return boto3.Session().client(
            "voice-id",
            endpoint_url=server.url,
            region_name=region,
            aws_access_key_id=key.access_key_id,
            aws_secret_access_key=key.secret,
            aws_session_token=key.session_token,
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=40),
        )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back, undisguised."""

    status: int
    headers: dict[str, str]
    document: dict[str, Any]

    @property
    def code(self):
        """The error's code; "OK" where there is none."""
        return self.document["__type"] if self.status >= 400 else "OK"


class Caller:
    """Sends requests as they are written, signed with a key."""

    def __init__(self, server, key=None, *, region=REGION):
        self._server = server
        self._key = key or own_key(server)
        self._region = region

    def send(self, operation, members, *, target=None):
        """Send an operation's members, or a body that is none."""
        body = members if isinstance(members, bytes) else json.dumps(members).encode()
        request = AWSRequest(
            "POST",
            f"{self._server.url}/",
            data=body,
            headers={
                "X-Amz-Target": f"VoiceID.{operation}" if target is None else target,
                "Content-Type": "application/x-amz-json-1.0",
            },
        )
        key = self._key
        credentials = Credentials(key.access_key_id, key.secret, key.session_token)
        SigV4Auth(credentials, "voiceid", self._region).add_auth(request)
        connection = http.client.HTTPConnection(f"127.0.0.1:{self._server.port}", timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", "/", body, dict(request.headers))
            response = connection.getresponse()
            content = response.read()
        return Answer(
            status=response.status,
            headers={name.lower(): value for name, value in response.getheaders()},
            document=json.loads(content),
        )

    def code_of(self, operation, members, **options):
        return self.send(operation, members, **options).code

    def with_secret(self, secret):
        """The same caller, whose signatures are wrong."""
        return Caller(self._server, replace(self._key, secret=secret), region=self._region)


def refusal_of(operation, **members):
    """The error with which an operation of a boto3 client ends, whole."""
    with pytest.raises(ClientError) as caught:
        operation(**members)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert caught.value.response["Error"]["Message"]
    return caught.value.response


def code_of(operation, **members):
    return refusal_of(operation, **members)["Error"]["Code"]


# --- a furnished domain


@dataclass(frozen=True, kw_only=True)
class Place:
    """A domain with one of everything in it.

    The customer is enrolled; the fraudster is on the default watchlist alone, the other one is
    empty; the session is the customer's, has ended, and kept half a minute of speech.
    """

    domain_id: str
    arn: str
    default_watchlist_id: str
    watchlist_id: str
    customer_id: str
    speaker_id: str
    fraudster_id: str
    session_id: str
    session_name: str
    enrollment_job_id: str
    registration_job_id: str


@contextlib.contextmanager
def data_of(server, customer_keys=None):
    """The store of the running server; its customers' keys are in its keyring, or elsewhere."""
    if customer_keys is None:
        with open_data(server.data_dir) as store:
            yield store
        return
    root_key = load_or_create_root_key(server.data_dir / "root.key", may_create=False)
    database = f"sqlite:///{server.data_dir / 'vivavoce.db'}"
    with contextlib.closing(open_store(database, Vault(root_key, customer_keys))) as store:
        yield store


def furnish(
    server, client, customer_id="customer-4711", *, region=REGION, key=KEY, customer_keys=None
):
    """Make a domain, and one of everything in it."""
    domain = client.create_domain(Name="bank", ServerSideEncryptionConfiguration=key)["Domain"]
    domain_id = domain["DomainId"]
    watchlist = client.create_watchlist(DomainId=domain_id, Name="custom")["Watchlist"]
    default_watchlist_id = domain["WatchlistDetails"]["DefaultWatchlistId"]
    with data_of(server, customer_keys) as store:
        speaker_id = store.write_now(lambda tx: add_speaker(tx, domain_id, customer_id))
        fraudster_id = store.write_now(
            lambda tx: add_fraudster(tx, domain_id, default_watchlist_id)
        )
        session = store.write_now(
            lambda tx: add_session(
                tx,
                domain_id,
                f"call-{secrets.token_hex(4)}",
                watchlist_id=default_watchlist_id,
                speaker_id=speaker_id,
                customer_id=customer_id,
            )
        )
    jobs = [
        start(DomainId=domain_id, DataAccessRoleArn=ROLE, **JOB_PLACES)["Job"]["JobId"]
        for start in (
            client.start_speaker_enrollment_job,
            client.start_fraudster_registration_job,
        )
    ]
    # Nothing is to change any more while a test looks.
    for job_id, kind in zip(jobs, ("speaker_enrollment", "fraudster_registration"), strict=True):
        end_of_job(client, domain_id, job_id, kind=kind)
    return Place(
        domain_id=domain_id,
        arn=arn_of(domain_id, region),
        default_watchlist_id=default_watchlist_id,
        watchlist_id=watchlist["WatchlistId"],
        customer_id=customer_id,
        speaker_id=speaker_id,
        fraudster_id=fraudster_id,
        session_id=session.session_id,
        session_name=session.name,
        enrollment_job_id=jobs[0],
        registration_job_id=jobs[1],
    )


ENDED = {"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED"}


def end_of_job(client, domain_id, job_id, *, kind="speaker_enrollment"):
    """A job once it has ended; without a manifest that does not take long."""
    describe = getattr(client, f"describe_{kind}_job")
    shown = {}

    def has_ended():
        shown.update(describe(DomainId=domain_id, JobId=job_id)["Job"])
        return shown["JobStatus"] in ENDED

    wait_for(has_ended)
    return shown


JOB_PLACES = {
    "InputDataConfig": {"S3Uri": "s3://bucket/manifest.json"},
    "OutputDataConfig": {"S3Uri": "s3://bucket/out"},
}


def encoder_model():
    """Name and version of the encoder that servers here use."""
    card = read_card(find(models_folder(None), "ge2e"))
    return f"ge2e@{card['sha256'][:12]}"


def voice_of(person):
    """A voice, shape (256,), unit length."""
    vector = np.random.default_rng(person).standard_normal(256)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def speech_of(person, seconds=31):
    """What passes for net speech once it is stored, shape (n,)."""
    rng = np.random.default_rng(person)
    return (rng.standard_normal(8000 * seconds) * 3000).astype(np.int16)


def add_speaker(tx, domain_id, customer_id, *, status: SpeakerStatus = "ENROLLED", person=ANNA):
    """A speaker; gives the generated id."""
    now_ms = SystemClock().now_ms()
    speaker = rows.speaker(
        speaker_id=generated_id(),
        domain_id=domain_id,
        customer_id=customer_id,
        status=status,
        created_ms=now_ms,
        updated_ms=now_ms,
        last_accessed_ms=now_ms if status == "ENROLLED" else None,
    )
    tx.speakers.add(speaker)
    if status == "ENROLLED":
        _put_voiceprint(tx, domain_id, speaker.speaker_id, person)
    return speaker.speaker_id


def add_fraudster(tx, domain_id, *watchlist_ids, person=CARLO):
    """A fraudster; gives the generated id."""
    fraudster = rows.fraudster(
        fraudster_id=generated_id(),
        domain_id=domain_id,
        watchlist_ids=watchlist_ids,
        created_ms=SystemClock().now_ms(),
    )
    tx.fraudsters.add(fraudster)
    _put_voiceprint(tx, domain_id, fraudster.fraudster_id, person)
    return fraudster.fraudster_id


def add_session(
    tx, domain_id, name, *, watchlist_id, speaker_id=None, customer_id=None, person=ANNA, heard_s=12
):
    """A session whose one stream has ended, with evidence and speech of a person."""
    now_ms = SystemClock().now_ms()
    session = rows.session(
        session_id=generated_id(),
        domain_id=domain_id,
        name=name,
        speaker_id=speaker_id,
        customer_id=customer_id,
        fraud_detection_enabled=True,
        watchlist_id=watchlist_id,
        authentication_minimum_s=5,
        streaming_status="ENDED",
        stream_expires_ms=now_ms,
        stream_started_ms=now_ms - 60_000,
        ended_ms=now_ms,
        received_s=60.0,
        net_speech_s=float(heard_s),
        lost_s=0.0,
        enrollment_status=None,
        enrollment_message=None,
        created_ms=now_ms,
        updated_ms=now_ms,
    )
    tx.sessions.add(session)
    evidence = rows.evidence(
        session_id=session.session_id,
        number=1,
        net_speech_s=float(heard_s),
        started_ms=now_ms - 50_000,
        ended_ms=now_ms - 30_000,
        model=encoder_model(),
        vector=voice_of(person),
        spoof=spoof_evidence(-20.0, -20.0),
    )
    tx.evidence.put(evidence, domain_id=domain_id)
    return tx.sessions.put_speech(session, speech_of(person), seconds=31.0)


def _put_voiceprint(tx, domain_id, owner_id, person):
    voiceprint = rows.voiceprint(
        owner_id=owner_id,
        domain_id=domain_id,
        model=encoder_model(),
        vector=voice_of(person),
        created_ms=SystemClock().now_ms(),
    )
    tx.voiceprints.put(voiceprint, speech=speech_of(person, seconds=2))


# --- every operation


def requests_in(place):
    """A request of every operation that would be served in this place, by operation.

    What one of them destroys, a later one may need: they are in an order in which all succeed.
    """
    domain = {"DomainId": place.domain_id}
    watchlist = {**domain, "WatchlistId": place.watchlist_id}
    fraudster = {**domain, "FraudsterId": place.fraudster_id}
    speaker = {**domain, "SpeakerId": place.customer_id}
    session = {**domain, "SessionNameOrId": place.session_id}
    job = {**domain, "DataAccessRoleArn": ROLE, **JOB_PLACES}
    return {
        "DescribeDomain": domain,
        "DescribeWatchlist": watchlist,
        "DescribeFraudster": fraudster,
        "DescribeSpeaker": speaker,
        "DescribeSession": session,
        "DescribeSpeakerEnrollmentJob": {**domain, "JobId": place.enrollment_job_id},
        "DescribeFraudsterRegistrationJob": {**domain, "JobId": place.registration_job_id},
        "ListDomains": {},
        "ListWatchlists": domain,
        "ListFraudsters": {**domain, "WatchlistId": place.default_watchlist_id},
        "ListSpeakers": domain,
        "ListSessions": domain,
        "ListSpeakerEnrollmentJobs": domain,
        "ListFraudsterRegistrationJobs": domain,
        "ListTagsForResource": {"ResourceArn": place.arn},
        "EvaluateSession": session,
        "CreateDomain": {"Name": "another", "ServerSideEncryptionConfiguration": KEY},
        "CreateWatchlist": {**domain, "Name": "another"},
        "StartSession": {**domain, "SessionName": place.session_name},
        "UpdateSession": {**session, "SpeakerId": place.speaker_id},
        "EndSession": session,
        "EnrollBySession": session,
        "RegisterFraudsterBySession": {**session, "WatchlistIds": [place.default_watchlist_id]},
        "StartSpeakerEnrollmentJob": job,
        "StartFraudsterRegistrationJob": job,
        "TagResource": {"ResourceArn": place.arn, "Tags": [{"Key": "team", "Value": "blue"}]},
        "UntagResource": {"ResourceArn": place.arn, "TagKeys": ["team"]},
        "UpdateDomain": {**domain, "Name": "bank", "ServerSideEncryptionConfiguration": KEY},
        "UpdateWatchlist": {**watchlist, "Name": "renamed"},
        "AssociateFraudster": {**fraudster, "WatchlistId": place.watchlist_id},
        "DisassociateFraudster": {**fraudster, "WatchlistId": place.watchlist_id},
        "DeleteWatchlist": watchlist,
        "DeleteFraudster": fraudster,
        "OptOutSpeaker": speaker,
        "DeleteSpeaker": speaker,
        "DeleteDomain": domain,
    }


READING = frozenset(
    {
        "EvaluateSession",
        *(
            f"Describe{what}"
            for what in (
                "Domain",
                "Watchlist",
                "Fraudster",
                "Speaker",
                "Session",
                "SpeakerEnrollmentJob",
                "FraudsterRegistrationJob",
            )
        ),
        *(
            f"List{what}"
            for what in (
                "Domains",
                "Watchlists",
                "Fraudsters",
                "Speakers",
                "Sessions",
                "SpeakerEnrollmentJobs",
                "FraudsterRegistrationJobs",
                "TagsForResource",
            )
        ),
    }
)
"""What changes nothing."""
