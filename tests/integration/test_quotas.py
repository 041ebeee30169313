"""Quotas, each for itself. Source: voice-id-behaviour.md, section 15."""

import pytest

from tests import rows
from tests.integration.house import build_house
from vivavoce.errors import QuotaExceeded
from vivavoce.store.quotas import AWS_QUOTAS, NO_QUOTAS, Quotas
from vivavoce.store.store import Store, open_store

pytestmark = pytest.mark.anyio


@pytest.fixture
def limited(database_url, vault):
    """Opens a store with a domain and with quotas."""
    stores: list[Store] = []

    def open_limited(**quotas):
        stores.append(open_store(database_url, vault, Quotas(**quotas)))
        stores[-1].write_now(rows.add_domain)
        return stores[-1]

    yield open_limited
    for store in stores:
        store.close()


def refused(store, work):
    with pytest.raises(QuotaExceeded) as caught:
        store.write_now(work)
    return str(caught.value)


def add_domain(number, region=rows.REGION):
    name = f"{number:022}"
    return lambda tx: rows.add_domain(tx, domain_id=name, default_watchlist_id=name, region=region)


def test_domains_of_a_region_are_counted_until_they_are_deleted(limited):
    store = limited(domains=2)
    store.write_now(add_domain(1))
    assert refused(store, add_domain(2)) == "The quota of 2 domains is used up"
    store.write_now(add_domain(3, region="eu-west-2"))
    store.write_now(lambda tx: tx.domains.mark_deleted(rows.DOMAIN_ID, now_ms=1))
    store.write_now(add_domain(4))


def test_a_quota_of_nothing_lets_nothing_in(limited):
    with pytest.raises(QuotaExceeded):
        limited(domains=0)


def test_watchlists_are_counted_with_the_default_one(limited):
    def add(name):
        return lambda tx: tx.watchlists.add(rows.watchlist(watchlist_id=name, is_default=False))

    store = limited(watchlists=2)
    store.write_now(add("second"))
    assert "watchlists in a domain" in refused(store, add("third"))
    store.write_now(lambda tx: tx.watchlists.remove("second"))
    store.write_now(add("third"))


def test_fraudsters_are_counted_by_watchlist(limited):
    def add(name, *watchlists):
        return lambda tx: tx.fraudsters.add(
            rows.fraudster(fraudster_id=f"id#{name}", watchlist_ids=watchlists)
        )

    def put_first_on_second_list(tx):
        tx.fraudsters.associate(tx.fraudsters.get(rows.DOMAIN_ID, "id#1"), "second")

    store = limited(fraudsters=1)
    store.write_now(lambda tx: tx.watchlists.add(rows.watchlist(watchlist_id="second")))
    store.write_now(add("1", rows.WATCHLIST_ID))
    assert "fraudsters on a watchlist" in refused(store, add("2", rows.WATCHLIST_ID))
    store.write_now(add("3", "second"))
    assert "fraudsters on a watchlist" in refused(store, put_first_on_second_list)
    store.write_now(lambda tx: tx.fraudsters.remove(rows.DOMAIN_ID, "id#3"))
    store.write_now(put_first_on_second_list)
    store.write_now(put_first_on_second_list)  # it is there: nothing is added


def test_speakers_are_counted_by_domain(limited):
    def add(name, domain_id=rows.DOMAIN_ID):
        speaker = rows.speaker(speaker_id=f"id#{name}", customer_id=name, domain_id=domain_id)
        return lambda tx: tx.speakers.add(speaker)

    store = limited(speakers=1)
    store.write_now(add_domain(1))
    store.write_now(add("a"))
    assert "speakers in a domain" in refused(store, add("b"))
    store.write_now(add("c", f"{1:022}"))
    store.write_now(lambda tx: tx.speakers.remove("id#a"))
    store.write_now(add("b"))


@pytest.mark.parametrize(
    ("kind", "quota", "what"),
    [
        ("speaker-enrollment", "enrollment_jobs", "active speaker enrollment jobs"),
        ("fraudster-registration", "registration_jobs", "active fraudster registration jobs"),
    ],
)
def test_only_active_jobs_of_a_kind_are_counted(limited, kind, quota, what):
    def add(job_id, kind=kind, status="SUBMITTED"):
        return lambda tx: tx.jobs.add(rows.job(job_id=job_id, kind=kind, status=status))

    (other,) = {"speaker-enrollment", "fraudster-registration"} - {kind}
    store = limited(**{quota: 2})
    for status in ("COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED"):
        store.write_now(add(status.lower()[:22], status=status))
    store.write_now(add("submitted"))
    store.write_now(add("begun", status="IN_PROGRESS"))
    assert refused(store, add("more")) == f"The quota of 2 {what} is used up"
    for number in range(3):
        store.write_now(add(f"other-{number}", kind=other))


async def test_active_sessions_are_counted_until_they_end_or_expire(sqlite_url, vault):
    store = open_store(sqlite_url, vault, Quotas(sessions=2))
    await store.write(rows.add_domain)
    house = build_house(store, vault)
    session, token = await house.start("open")
    call = await house.open(session, token)
    first, _ = await house.start("first", client_token="t")
    with pytest.raises(QuotaExceeded, match="2 active sessions in a domain"):
        await house.start("second")
    again, _ = await house.start("first", client_token="t")  # nothing is started
    assert again == first
    house.clock.ms = first.stream_expires_ms
    await house.start("second")
    with pytest.raises(QuotaExceeded):
        await house.start("first")  # a new stream of an ended one is active again
    await house.desk.end(rows.DOMAIN_ID, "open")
    await house.start("first")
    await call.end()
    store.close()


def test_without_quotas_nothing_is_limited(limited):
    store = limited()
    for number in range(5):
        store.write_now(add_domain(number))
    for quota in Quotas.__slots__:
        assert getattr(NO_QUOTAS, quota) is None
        assert getattr(AWS_QUOTAS, quota) >= 1
