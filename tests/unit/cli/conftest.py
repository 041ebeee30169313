import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

import vivavoce
from tests import rows
from vivavoce.foundation import open_data, open_keyring

_NOBODY = 65534


@pytest.fixture
def store(data_dir):
    """The store in `data_dir`, beside the one that a command opens."""
    with open_data(data_dir) as store:
        yield store


@pytest.fixture
def read_only(data_dir):
    """A copy of `data_dir` in which this process cannot write, while the test runs.

    Root can write anywhere, so as root the test runs as nobody.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        copy = shutil.copytree(data_dir, folder / "copy")
        is_root = os.geteuid() == 0
        if is_root:
            code = Path(vivavoce.__file__)
            if not all(parent.stat().st_mode & 0o005 == 0o005 for parent in code.parents):
                pytest.skip("nobody cannot read this checkout: run the tests as another user")
            folder.chmod(0o755)
            for path in (copy, *copy.iterdir()):
                os.chown(path, _NOBODY, _NOBODY)
        copy.chmod(0o500)
        stack.callback(copy.chmod, 0o700)
        if is_root:
            os.seteuid(_NOBODY)
            stack.callback(os.seteuid, 0)
        assert not os.access(copy, os.W_OK, effective_ids=True)
        yield copy


@pytest.fixture
def domain_store(store, data_dir):
    """The store with a domain that the keyring opens."""
    keyring = open_keyring(data_dir)
    key = keyring.create(region="us-east-1", account_id="0" * 12)
    domain = rows.domain(kms_key_id=key.arn)
    wrapped = keyring.new_data_key(key.arn, domain_arn=domain.arn).wrapped
    store.write_now(lambda tx: tx.domains.add(domain, wrapped_key=wrapped, tags={}))
    return store
