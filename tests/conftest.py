import pytest

pytest_plugins = ["tests.server"]


@pytest.fixture(scope="session")
def anyio_backend():
    """Tests marked `anyio` run on asyncio, as the product does."""
    return "asyncio"
