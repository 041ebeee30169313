"""Pages: whatever happens in between, each row that stays is visited once."""

import base64
import json
import time

import pytest

from tests.protocol.clients import (
    JOB_PLACES,
    KEY,
    ROLE,
    Caller,
    add_fraudster,
    add_speaker,
    end_of_job,
    furnish,
)
from vivavoce.api.paging import LIFETIME_MS, page_token
from vivavoce.foundation import open_data
from vivavoce.vault.keyfile import load_or_create_root_key
from vivavoce.vault.seal import SealingKey

REGION = "eu-central-1"
"""Domains are listed by region: here nobody else makes any."""

BEFORE = 7


class Listed:
    """One kind of rows of a domain: how to list them, add one, and take one away.

    `removable` says whether single rows can be taken away at all; `newest_first` which end new
    rows are on.
    """

    def __init__(self, server, client, kind):
        self.client = client
        self._server = server
        self._kind = kind
        place = furnish(server, client, region=REGION)
        self._domain = {"DomainId": place.domain_id}
        self._watchlist_id = place.watchlist_id
        self._number = 0
        self.removable = kind not in ("sessions", "enrollment_jobs", "registration_jobs")
        self.newest_first = kind.endswith("_jobs")

    def add(self):
        self._number += 1
        number, domain, client = self._number, self._domain, self.client
        job = {**domain, "DataAccessRoleArn": ROLE, **JOB_PLACES}
        match self._kind:
            case "domains":
                name = f"listed-{number}"
                made = client.create_domain(Name=name, ServerSideEncryptionConfiguration=KEY)
                return made["Domain"]["DomainId"]
            case "watchlists":
                made = client.create_watchlist(**domain, Name=f"listed-{number}")
                return made["Watchlist"]["WatchlistId"]
            case "speakers":
                return self._beside(lambda tx: add_speaker(tx, domain["DomainId"], f"s-{number}"))
            case "fraudsters":
                lists = (self._watchlist_id,)
                return self._beside(lambda tx: add_fraudster(tx, domain["DomainId"], *lists))
            case "sessions":
                return client.start_session(**domain)["Session"]["SessionId"]
            case "enrollment_jobs":
                return client.start_speaker_enrollment_job(**job)["Job"]["JobId"]
            case _:
                return client.start_fraudster_registration_job(**job)["Job"]["JobId"]

    def remove(self, identifier):
        domain, client = self._domain, self.client
        match self._kind:
            case "domains":
                client.delete_domain(DomainId=identifier)
            case "watchlists":
                client.delete_watchlist(**domain, WatchlistId=identifier)
            case "speakers":
                client.delete_speaker(**domain, SpeakerId=identifier)
            case _:
                client.delete_fraudster(**domain, FraudsterId=identifier)

    def page(self, size, token=None):
        """Ids of a page, and the token of the next one."""
        operation, rows, identifier = {
            "domains": ("list_domains", "DomainSummaries", "DomainId"),
            "watchlists": ("list_watchlists", "WatchlistSummaries", "WatchlistId"),
            "speakers": ("list_speakers", "SpeakerSummaries", "GeneratedSpeakerId"),
            "fraudsters": ("list_fraudsters", "FraudsterSummaries", "GeneratedFraudsterId"),
            "sessions": ("list_sessions", "SessionSummaries", "SessionId"),
            "enrollment_jobs": ("list_speaker_enrollment_jobs", "JobSummaries", "JobId"),
            "registration_jobs": ("list_fraudster_registration_jobs", "JobSummaries", "JobId"),
        }[self._kind]
        members = {} if self._kind == "domains" else dict(self._domain)
        if token is not None:
            members["NextToken"] = token
        answer = getattr(self.client, operation)(MaxResults=size, **members)
        return [row[identifier] for row in answer[rows]], answer.get("NextToken")

    def all(self):
        return self.page(100)[0]

    def _beside(self, work):
        with open_data(self._server.data_dir) as store:
            return store.write_now(work)


KINDS = [
    *("domains", "watchlists", "speakers", "fraudsters", "sessions"),
    *("enrollment_jobs", "registration_jobs"),
]


@pytest.fixture(scope="module", params=KINDS)
def emptied(request, _shared_server, connect):
    return Listed(_shared_server, connect(_shared_server, region=REGION), request.param)


@pytest.fixture
def listed(emptied):
    """Some rows at least, whatever other tests have taken away."""
    while len(emptied.all()) < BEFORE:
        emptied.add()
    return emptied


def walk(listed, token, size):
    """The rows of all pages from a token on."""
    while token is not None:
        page, token = listed.page(size, token)
        assert 1 <= len(page) <= size
        yield from page


@pytest.mark.parametrize("size", [1, 3, 100])
def test_each_row_is_visited_once_in_order(listed, size):
    page, token = listed.page(size)
    assert [*page, *walk(listed, token, size)] == listed.all()


def test_rows_that_come_and_go_meanwhile_do_not_disturb_the_others(listed):
    before = listed.all()
    assert len(before) >= BEFORE
    visited, token = listed.page(2)
    added, removed = [listed.add()], set()
    if listed.removable:
        # Of those behind the walk the last one, where it goes on; of those ahead the next one.
        removed = {before[1], before[2]}
        for one in removed:
            listed.remove(one)
    page, token = listed.page(2, token)
    visited += page
    added.append(listed.add())
    visited += walk(listed, token, 2)
    assert len(visited) == len(set(visited))
    assert [one for one in visited if one in before] == [
        one for one in before if one not in removed - {before[1]}
    ]
    # Jobs are listed newest first, so that new ones are behind whoever walks; others are ahead.
    assert [one for one in visited if one in added] == ([] if listed.newest_first else added)


def test_a_token_can_be_used_again(listed):
    _, token = listed.page(2)
    assert listed.page(2, token)[0] == listed.page(2, token)[0]


# --- tokens that are none


@pytest.fixture(scope="module")
def domain(_shared_server, client):
    place = furnish(_shared_server, client)
    for number in range(3):
        client.opt_out_speaker(DomainId=place.domain_id, SpeakerId=f"caller-{number}")
    return {"DomainId": place.domain_id}


def token_of(caller, domain, size=1):
    return caller.send("ListSpeakers", {**domain, "MaxResults": size}).document["NextToken"]


def test_a_token_that_was_tampered_with_is_refused(server, domain):
    caller = Caller(server)
    token = token_of(caller, domain)
    asked = {**domain, "MaxResults": 1}
    assert caller.code_of("ListSpeakers", {**asked, "NextToken": token}) == "OK"
    packed = base64.urlsafe_b64decode(token)
    content, signature = json.loads(packed)
    moved = json.dumps([json.loads(content)[0] + 1, json.loads(content)[1]])
    longer = json.dumps([json.loads(content)[0], json.loads(content)[1] + LIFETIME_MS])

    def packed_up(*parts):
        return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()

    wrong = [
        packed_up(moved, signature),
        packed_up(longer, signature),
        packed_up(content, base64.b64encode(bytes(32)).decode()),
        packed_up(content, ""),
        packed_up(content),
        packed_up(1, 2),
        token[:-4],
        token * 2,
        "x",
        "=",
        "[" * 8000,
        base64.urlsafe_b64encode(b"[" * 6000).decode(),
        *(
            token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
            for place in range(0, len(token) - 2, 7)
        ),
    ]
    for one in wrong:
        assert caller.code_of("ListSpeakers", {**asked, "NextToken": one}) == "ValidationException"
    for not_a_token in ("é", "t" * 8193, 7):
        refused = caller.code_of("ListSpeakers", {**asked, "NextToken": not_a_token})
        assert refused == "ValidationException"
    assert caller.code_of("ListSpeakers", {**asked, "NextToken": ""}) == "OK"  # the first page


def test_a_token_belongs_to_its_query(server, client, domain):
    caller = Caller(server)
    token = token_of(caller, domain)
    other = client.create_domain(Name="other", ServerSideEncryptionConfiguration=KEY)["Domain"]
    for operation, members in (
        ("ListSpeakers", {**domain, "MaxResults": 2}),
        ("ListSpeakers", domain),
        ("ListSpeakers", {"DomainId": other["DomainId"], "MaxResults": 1}),
        ("ListFraudsters", {**domain, "MaxResults": 1}),
        ("ListSessions", {**domain, "MaxResults": 1}),
        ("ListWatchlists", {**domain, "MaxResults": 1}),
        ("ListSpeakerEnrollmentJobs", {**domain, "MaxResults": 1}),
        ("ListFraudsterRegistrationJobs", {**domain, "MaxResults": 1}),
        ("ListDomains", {"MaxResults": 1}),
    ):
        refused = caller.code_of(operation, {**members, "NextToken": token})
        assert refused == "ValidationException", operation
    page = caller.send("ListDomains", {"MaxResults": 1}).document
    elsewhere = Caller(server, region=REGION)
    members = {"MaxResults": 1, "NextToken": page["NextToken"]}
    assert elsewhere.code_of("ListDomains", members) == "ValidationException"


def test_filters_are_part_of_the_query(server, client):
    place = furnish(server, client)
    domain = {"DomainId": place.domain_id}
    job = {**domain, "DataAccessRoleArn": ROLE, **JOB_PLACES}
    started = client.start_speaker_enrollment_job(**job)["Job"]
    end_of_job(client, place.domain_id, started["JobId"])
    caller = Caller(server)
    asked = {**domain, "MaxResults": 1, "JobStatus": "FAILED"}
    token = caller.send("ListSpeakerEnrollmentJobs", asked).document["NextToken"]
    for status in ("COMPLETED", None):
        members = {**asked, "JobStatus": status, "NextToken": token}
        refused = caller.code_of("ListSpeakerEnrollmentJobs", members)
        assert refused == "ValidationException"
    again = {**asked, "NextToken": token}
    assert caller.code_of("ListSpeakerEnrollmentJobs", again) == "OK"


def test_a_token_is_good_for_a_day_whoever_of_the_house_made_it(server, domain):
    # Nothing is remembered of tokens, so they outlive a restart as well.
    root = SealingKey(load_or_create_root_key(server.data_dir / "root.key", may_create=False))
    caller = Caller(server)
    now_ms = round(time.time() * 1000)
    query = ["ListSpeakers", domain["DomainId"], 1]

    def made(age_ms):
        return page_token(root, query, after=0, now_ms=now_ms - age_ms)

    asked = {**domain, "MaxResults": 1}
    young = {**asked, "NextToken": made(LIFETIME_MS - 60_000)}
    assert caller.code_of("ListSpeakers", young) == "OK"
    old = {**asked, "NextToken": made(LIFETIME_MS + 1)}
    assert caller.code_of("ListSpeakers", old) == "ValidationException"


def test_a_token_does_not_outlive_its_domain(server, client):
    place = furnish(server, client)
    domain = {"DomainId": place.domain_id}
    client.opt_out_speaker(**domain, SpeakerId="another")
    caller = Caller(server)
    members = {**domain, "MaxResults": 1, "NextToken": token_of(caller, domain)}
    client.delete_domain(**domain)
    assert caller.send("ListSpeakers", members).document["ResourceType"] == "DOMAIN"
