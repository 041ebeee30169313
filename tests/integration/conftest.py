import asyncio
import os
import secrets

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from tests import rows
from tests.fakes import FakeCustomerKeys
from tests.integration.house import JUDGE, build_house
from vivavoce.store.store import open_store
from vivavoce.vault.vault import Vault

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql+psycopg://127.0.0.1:5432/test")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A migrated SQLite database without rows: to copy is quicker than to migrate."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    store = open_store(f"sqlite:///{path}", Vault(bytes(32), FakeCustomerKeys()))
    store.close()
    return path.read_bytes()


@pytest.fixture(scope="session")
def postgres():
    """An engine on the PostgreSQL server, or a visible skip."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'psycopg[binary]'")
    engine = create_engine(POSTGRES_URL, connect_args={"connect_timeout": 5})
    try:
        engine.connect().close()
    except SQLAlchemyError:
        engine.dispose()
        pytest.skip(f"no PostgreSQL answers at {POSTGRES_URL}; name one by TEST_POSTGRES_URL")
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'vivavoce.db'}"


@pytest.fixture
def postgres_url(postgres):
    """A schema of this test's own."""
    schema = f"vivavoce_{secrets.token_hex(8)}"
    with postgres.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield (
        make_url(POSTGRES_URL)
        .update_query_dict({"options": f"-csearch_path={schema}"})
        .render_as_string(hide_password=False)
    )
    with postgres.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    """The URL of an empty database, once of each kind that is served."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def customer_keys():
    return FakeCustomerKeys()


@pytest.fixture
def vault(customer_keys):
    return Vault(bytes(32), customer_keys)


@pytest.fixture
def any_store(database_url, vault):
    """A store on a database of each kind."""
    store = open_store(database_url, vault)
    yield store
    store.close()


@pytest.fixture
def store(tmp_path, empty_database, vault):
    """A store on SQLite, quickly made."""
    path = tmp_path / "vivavoce.db"
    path.write_bytes(empty_database)
    store = open_store(f"sqlite:///{path}", vault)
    yield store
    store.close()


@pytest.fixture
def judge():
    """What scores mean in the house."""
    return JUDGE


@pytest.fixture
async def house(store, vault, judge):
    """A house with one empty domain."""
    await store.write(rows.add_domain)
    house = build_house(store, vault, judge=judge)
    yield house
    if house.engines.held is not None:
        house.engines.held.set()
    async with asyncio.timeout(10):
        await house.calls.drain(within_s=30)
