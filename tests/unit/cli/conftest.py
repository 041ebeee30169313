import shutil

import pytest

from vivavoce.foundation import lay_foundation, open_data
from vivavoce.settings import read_settings


@pytest.fixture(scope="session")
def first_start(tmp_path_factory):
    """A data folder as a server's first start leaves it: to copy is quicker than to make."""
    folder = tmp_path_factory.mktemp("first-start") / "data"
    foundation = lay_foundation(read_settings({"data_dir": folder}))
    foundation.store.close()
    foundation.lock.close()
    return folder


@pytest.fixture
def data_dir(tmp_path, first_start):
    """A server's data folder of this test's own."""
    return shutil.copytree(first_start, tmp_path / "data")


@pytest.fixture
def store(data_dir):
    """The store in `data_dir`, beside the one that a command opens."""
    with open_data(data_dir) as store:
        yield store
