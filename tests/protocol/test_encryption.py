"""Customers' keys, while the server runs: disabled, changed, destroyed, kept at AWS KMS."""

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from tests.protocol.clients import (
    Caller,
    add_speaker,
    end_of_job,
    furnish,
    refusal_of,
    requests_in,
)
from tests.server import Server, wait_for
from vivavoce.foundation import open_data
from vivavoce.vault.awskms import AwsKms
from vivavoce.vault.keyfile import load_or_create_root_key
from vivavoce.vault.keyring import KEYRING_FILE, LocalKeyring
from vivavoce.vault.seal import SealingKey

CUSTOMER = "anna-4711-kunde"
MANY = 3000
FIRST, SECOND = {"KmsKeyId": "alias/first"}, {"KmsKeyId": "alias/second"}

ENDING = frozenset(
    {
        *("EndSession", "DeleteDomain", "DeleteFraudster", "DeleteSpeaker", "DeleteWatchlist"),
        *("DisassociateFraudster", "OptOutSpeaker"),
    }
)
"""What ends something; whether it needs a key is tried where there is nothing left to lose."""

SEALED = frozenset(
    {
        *("DescribeDomain", "UpdateDomain", "CreateWatchlist", "UpdateWatchlist"),
        *("DescribeWatchlist", "ListWatchlists", "DescribeSpeaker", "ListSpeakers"),
        *("DescribeSession", "ListSessions", "StartSession", "UpdateSession", "EvaluateSession"),
        *("EnrollBySession", "RegisterFraudsterBySession"),
    }
)
"""What shows or writes something that the customer's key seals."""


@pytest.fixture(scope="module")
def server(launch):
    return launch()


@pytest.fixture(scope="module")
def owner(server, connect):
    return connect(server)


def keyring(server, *arguments):
    """What `vivavoce keyring` prints; it must succeed."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "vivavoce", "keyring", *arguments),
            *("--data-dir", str(server.data_dir)),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def keyring_of(server):
    """The same file, for those who cannot wait for a command to start."""
    root_key = load_or_create_root_key(server.data_dir / "root.key", may_create=False)
    return LocalKeyring(server.data_dir / KEYRING_FILE, SealingKey(root_key))


def named_jobs(client, place):
    """Jobs whose names are sealed, so that showing them needs the key."""
    for kind in ("speaker_enrollment", "fraudster_registration"):
        job = requests_in(place)["StartSpeakerEnrollmentJob"]
        made = getattr(client, f"start_{kind}_job")(**job, JobName="name-of-a-job")["Job"]
        end_of_job(client, place.domain_id, made["JobId"], kind=kind)
        yield f"{kind.partition('_')[0]}", made["JobId"]


def picture(caller, place):
    """Everything that can be seen of a place."""
    requests = requests_in(place)
    reading = [
        name for name in requests if name.startswith(("Describe", "List")) and name != "ListDomains"
    ]
    answers = {name: caller.send(name, requests[name]) for name in reading}
    assert Counter(answer.code for answer in answers.values()) == {"OK": len(reading)}
    return {name: answer.document for name, answer in answers.items()}


# --- a key is disabled


def test_a_disabled_key_hides_its_domains_at_once_and_opens_them_again(server, owner):
    key = {"KmsKeyId": "alias/to-be-disabled"}
    place = furnish(server, owner, CUSTOMER, key=key)
    other = furnish(server, owner, "ben-0815-kunde")
    owner.update_domain(
        DomainId=place.domain_id, Name="name-of-the-domain", ServerSideEncryptionConfiguration=key
    )
    jobs = dict(named_jobs(owner, place))
    of_jobs = {
        "DescribeSpeakerEnrollmentJob": {"JobId": jobs["speaker"]},
        "DescribeFraudsterRegistrationJob": {"JobId": jobs["fraudster"]},
        "ListSpeakerEnrollmentJobs": {},
        "ListFraudsterRegistrationJobs": {},
    }
    caller = Caller(server)
    before = picture(caller, place), picture(caller, other)
    by_file = keyring_of(server)
    ways = [
        (
            lambda name: keyring(server, "disable", name),
            lambda name: keyring(server, "enable", name),
        ),
        (by_file.disable, by_file.enable),  # it can be done again
    ]
    for disable, enable in ways:
        disable(key["KmsKeyId"])
        for operation, members in requests_in(place).items():
            if operation in ENDING or operation in ("CreateDomain", "TagResource", "UntagResource"):
                continue
            answer = caller.send(operation, members | of_jobs.get(operation, {}))
            if operation in SEALED or operation in of_jobs:
                assert answer.code == "AccessDeniedException", operation
                assert "disabled" in answer.document["Message"]
            said = json.dumps(answer.document)
            for secret in (CUSTOMER, "name-of-", "custom"):
                assert secret not in said.replace("customer", ""), operation
        pages = owner.get_paginator("list_domains").paginate().build_full_result()
        (shown,) = [one for one in pages["DomainSummaries"] if one["DomainId"] == place.domain_id]
        assert shown["DomainStatus"] == "SUSPENDED"
        assert not {"Name", "Description"} & shown.keys()
        assert picture(caller, other) == before[1]
        refused = refusal_of(owner.create_domain, Name="n", ServerSideEncryptionConfiguration=key)
        assert refused["Error"]["Code"] == "AccessDeniedException"
        enable(key["KmsKeyId"])
        assert picture(caller, place) == before[0]


def test_a_domain_whose_key_is_disabled_can_still_be_deleted(server, owner):
    key = {"KmsKeyId": "alias/to-be-left"}
    place = furnish(server, owner, CUSTOMER, key=key)
    keyring_of(server).disable(key["KmsKeyId"])
    caller = Caller(server)
    for operation in sorted(ENDING - {"DeleteDomain"}):
        answer = caller.send(operation, requests_in(place)[operation])
        assert answer.code in ("OK", "AccessDeniedException", "ConflictException"), operation
        assert CUSTOMER not in json.dumps(answer.document)
    assert caller.code_of("DeleteDomain", {"DomainId": place.domain_id}) == "OK"
    pages = owner.get_paginator("list_domains").paginate().build_full_result()
    assert place.domain_id not in {one["DomainId"] for one in pages["DomainSummaries"]}


def test_lists_with_a_denied_key_in_them_do_not_keep_writers_out(server, owner):
    key = {"KmsKeyId": "alias/denied-in-lists"}
    places = [furnish(server, owner, CUSTOMER, key=key), furnish(server, owner)]
    keys = keyring_of(server)
    keys.disable(key["KmsKeyId"])
    caller = Caller(server)
    for number in range(5):
        with ThreadPoolExecutor(8) as threads:
            # Side by side, so that the store reads over several connections.
            listed = [threads.submit(caller.code_of, "ListDomains", {}) for _ in range(8)]
            assert {one.result() for one in listed} == {"OK"}
        for name in (f"first-{number}", f"second-{number}", f"third-{number}"):
            wanted = {"DomainId": places[1].domain_id, "Name": name}
            assert caller.code_of("CreateWatchlist", wanted) == "OK"
    keys.enable(key["KmsKeyId"])


# --- a key is changed


def status_of(client, domain_id):
    domain = client.describe_domain(DomainId=domain_id)["Domain"]
    return domain["ServerSideEncryptionUpdateDetails"]["UpdateStatus"]


def test_a_domain_gets_another_key_and_the_old_one_can_go(server, owner):
    place = furnish(server, owner, CUSTOMER, key=FIRST)
    caller = Caller(server)
    before = picture(caller, place)
    old = owner.describe_domain(DomainId=place.domain_id)["Domain"][
        "ServerSideEncryptionConfiguration"
    ]["KmsKeyId"]
    domain = {"DomainId": place.domain_id, "Name": "bank"}
    updated = owner.update_domain(**domain, ServerSideEncryptionConfiguration=SECOND)["Domain"]
    details = updated["ServerSideEncryptionUpdateDetails"]
    assert details["UpdateStatus"] in ("IN_PROGRESS", "COMPLETED")
    assert details["OldKmsKeyId"] == old
    assert updated["ServerSideEncryptionConfiguration"]["KmsKeyId"] != old
    wait_for(lambda: status_of(owner, place.domain_id) == "COMPLETED")
    keyring(server, "destroy", old, "--yes")
    after = picture(caller, place)
    assert before.pop("DescribeDomain")["Domain"]["Name"] == "bank"
    assert after.pop("DescribeDomain")["Domain"]["Name"] == "bank"
    assert after == before
    evaluated = caller.send("EvaluateSession", requests_in(place)["EvaluateSession"]).document
    assert evaluated["AuthenticationResult"]["Decision"] == "ACCEPT"
    enrolled = caller.send("EnrollBySession", requests_in(place)["EnrollBySession"]).document
    assert enrolled["Session"]["EnrollmentRequestDetails"]["Status"] == "COMPLETED"
    gone = refusal_of(owner.update_domain, **domain, ServerSideEncryptionConfiguration=FIRST)
    assert gone["Error"]["Code"] == "AccessDeniedException"


def test_a_change_of_keys_that_was_killed_half_way_is_finished(server, owner, connect):
    old_key, new_key = {"KmsKeyId": "alias/before"}, {"KmsKeyId": "alias/after"}
    place = furnish(server, owner, CUSTOMER, key=old_key)
    domain_id = place.domain_id

    def crowd(tx):
        for number in range(MANY):
            add_speaker(tx, domain_id, f"caller-{number}", status="OPTED_OUT")

    with open_data(server.data_dir) as store:
        store.write_now(crowd)
    old = owner.describe_domain(DomainId=domain_id)["Domain"]["ServerSideEncryptionConfiguration"]
    owner.update_domain(DomainId=domain_id, Name="bank", ServerSideEncryptionConfiguration=new_key)
    until = time.monotonic() + 30
    while not by_key(server, domain_id)[2]:
        assert time.monotonic() < until, "it did not begin"
    server.kill()
    half_way = by_key(server, domain_id)
    assert half_way[1] > 0, "it was over before it was killed"
    assert half_way[2] > 0
    server.start()
    again = connect(server)
    wait_for(lambda: status_of(again, domain_id) == "COMPLETED")
    assert by_key(server, domain_id) == {2: MANY + 1}
    keyring_of(server).destroy(old["KmsKeyId"])
    speakers = again.get_paginator("list_speakers").paginate(DomainId=domain_id)
    found = [one["CustomerSpeakerId"] for one in speakers.build_full_result()["SpeakerSummaries"]]
    assert found == [CUSTOMER, *(f"caller-{number}" for number in range(MANY))]
    picture(Caller(server), place)
    # And customer ids are still found: the index has not changed.
    last = again.describe_speaker(DomainId=domain_id, SpeakerId=f"caller-{MANY - 1}")
    assert last["Speaker"]["Status"] == "OPTED_OUT"


def by_key(server, domain_id):
    """How many speakers' keys are under each of the domain's keys, by its number."""
    with contextlib.closing(sqlite3.connect(server.data_dir / "vivavoce.db")) as database:
        rows = database.execute(
            "SELECT substr(sealed_key, 1, 2) AS number, COUNT(*) FROM speakers"
            " WHERE domain_id = ? GROUP BY number",
            (domain_id,),
        )
        return Counter({int.from_bytes(number, "big"): count for number, count in rows})


def test_a_change_that_a_key_denies_fails_and_is_tried_again_on_demand(server, owner):
    old, new = {"KmsKeyId": "alias/old"}, {"KmsKeyId": "alias/new"}
    place = furnish(server, owner, CUSTOMER, key=old)
    domain_id = place.domain_id
    with open_data(server.data_dir) as store:
        store.write_now(
            lambda tx: [
                add_speaker(tx, domain_id, f"caller-{number}", status="OPTED_OUT")
                for number in range(MANY)
            ]
        )
    again = {"DomainId": domain_id, "Name": "bank", "ServerSideEncryptionConfiguration": new}
    third = {**again, "ServerSideEncryptionConfiguration": {"KmsKeyId": "alias/third"}}
    keys = keyring_of(server)
    owner.update_domain(**again)
    keys.disable(old["KmsKeyId"])
    wait_for(lambda: status_of(owner, domain_id) == "FAILED")
    details = owner.describe_domain(DomainId=domain_id)["Domain"][
        "ServerSideEncryptionUpdateDetails"
    ]
    assert "disabled" in details["Message"]
    keys.enable(old["KmsKeyId"])
    details = owner.update_domain(**again)["Domain"]["ServerSideEncryptionUpdateDetails"]
    assert details["UpdateStatus"] in ("IN_PROGRESS", "COMPLETED")
    assert "Message" not in details
    wait_for(lambda: status_of(owner, domain_id) == "COMPLETED")
    owner.update_domain(**third)
    wait_for(lambda: status_of(owner, domain_id) == "COMPLETED")
    picture(Caller(server), place)


# --- the keyring is damaged or gone


@pytest.fixture
def troubled(tmp_path, connect):
    """A server with a domain, whose log may hold errors."""
    server = Server(tmp_path)
    try:
        server.start()
        yield server, furnish(server, connect(server), CUSTOMER)
    finally:
        server.end()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda keyring: keyring.write_text("{"), "is not a vivavoce keyring, or it is damaged"),
        (lambda keyring: keyring.unlink(), "is missing, but there are domains"),
    ],
)
def test_a_keyring_that_goes_bad_is_logged_with_what_to_do_and_serves_again_once_restored(
    troubled, damage, said
):
    server, place = troubled
    keyring = server.data_dir / KEYRING_FILE
    backup = keyring.read_bytes()
    damage(keyring)
    caller = Caller(server)
    for _ in range(3):
        answer = caller.send("DescribeDomain", {"DomainId": place.domain_id})
        assert answer.code == "InternalServerException"
        assert "keyring" not in json.dumps(answer.document)
    records = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    (told,) = [one for one in records if one["logger"] == "vivavoce.vault.vault"]
    assert told["level"] == "error"
    assert f"{keyring} {said}" in told["message"]
    assert "restore it from your backup" in told["message"]
    keyring.write_bytes(backup)
    keyring.chmod(0o600)
    assert caller.code_of("DescribeDomain", {"DomainId": place.domain_id}) == "OK"


def test_an_update_that_is_refused_makes_no_key(server, owner):
    place = furnish(server, owner, CUSTOMER)
    keys = keyring_of(server)
    with ThreadPoolExecutor(6) as threads:
        wanted = [
            {
                "DomainId": place.domain_id,
                "Name": "bank",
                "ServerSideEncryptionConfiguration": {"KmsKeyId": f"alias/wanted-{number}"},
            }
            for number in range(6)
        ]
        codes = list(threads.map(lambda one: Caller(server).code_of("UpdateDomain", one), wanted))
    assert Counter(codes) == {"OK": 1, "ConflictException": 5}
    made = [alias for key in keys.all_keys() for alias in key.aliases if "wanted" in alias]
    assert made == [f"alias/wanted-{codes.index('OK')}"]


# --- keys at AWS KMS


class Kms:
    """A KMS that obeys a disabled key.

    Moto's still unwraps under one. This stands before it, and answers what AWS does: source, the
    errors of Decrypt in AWS's reference of KMS.
    """

    def __init__(self):
        self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._moto.start()
        disabled = self.disabled = set[str]()
        host, port = self._moto.get_host_and_port()
        behind = self._behind = httpx.Client(base_url=f"http://{host}:{port}")

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                uses = self.headers["X-Amz-Target"].rpartition(".")[2] in (
                    "Decrypt",
                    "GenerateDataKey",
                )
                if uses and json.loads(body)["KeyId"] in disabled:
                    status, content = 400, b'{"__type": "DisabledException", "message": "no"}'
                else:
                    headers = dict(self.headers.items())
                    answer = behind.post("/", content=body, headers=headers)
                    status, content = answer.status_code, answer.content
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format, *args):  # noqa: A002 - the name it has in http.server
                pass

        self._front = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._front.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._front.server_port}"
        self.client = boto3.client("kms", endpoint_url=self.url, region_name="us-east-1")

    def disable(self, arn):
        self.client.disable_key(KeyId=arn.split("/")[1])
        self.disabled.add(arn)

    def enable(self, arn):
        self.client.enable_key(KeyId=arn.split("/")[1])
        self.disabled.remove(arn)

    def close(self):
        self.client.close()
        self._front.shutdown()
        self._front.server_close()
        self._behind.close()
        self._moto.stop()


@pytest.fixture
def kms(monkeypatch, tmp_path):
    """A KMS, and the credentials that lead to it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with contextlib.closing(Kms()) as kms:
        yield kms


def test_a_key_at_aws_kms_is_obeyed_too(kms, launch, connect):
    server = launch(kms="aws", kms_endpoint_url=kms.url, key_cache_s=0)
    client = connect(server)
    first, second = (kms.client.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    kms.client.create_alias(AliasName="alias/bank", TargetKeyId=first)
    place = furnish(
        server,
        client,
        CUSTOMER,
        key={"KmsKeyId": "alias/bank"},
        customer_keys=AwsKms(region=None, endpoint_url=kms.url),
    )
    caller = Caller(server)
    before = picture(caller, place)
    shown = before["DescribeDomain"]["Domain"]["ServerSideEncryptionConfiguration"]["KmsKeyId"]
    assert shown == first
    unknown = {"KmsKeyId": "alias/nobody"}
    refused = refusal_of(client.create_domain, Name="n", ServerSideEncryptionConfiguration=unknown)
    assert refused["Error"]["Code"] == "AccessDeniedException"
    kms.disable(first)
    for operation in sorted(SEALED):
        answer = caller.send(operation, requests_in(place)[operation])
        assert answer.code == "AccessDeniedException", operation
        assert CUSTOMER not in json.dumps(answer.document)
    kms.enable(first)
    assert picture(caller, place) == before
    client.update_domain(
        DomainId=place.domain_id,
        Name="bank",
        ServerSideEncryptionConfiguration={"KmsKeyId": second},
    )
    wait_for(lambda: status_of(client, place.domain_id) == "COMPLETED")
    kms.disable(first)
    after = picture(caller, place)
    assert after["ListSpeakers"] == before["ListSpeakers"]
    assert not (server.data_dir / "keyring.json").exists()
