import stat

import pytest

from vivavoce.errors import KeyUnavailable
from vivavoce.vault.keyfile import load_or_create_root_key, write_private


@pytest.fixture
def path(tmp_path):
    return tmp_path / "root.key"


def made(path):
    return load_or_create_root_key(path, may_create=True)


def test_the_first_start_makes_a_key_and_the_next_one_reads_it(path):
    key = made(path)
    assert len(key) == 32
    assert load_or_create_root_key(path, may_create=False) == key
    assert [file.name for file in path.parent.iterdir()] == ["root.key"]


def test_only_its_owner_can_read_the_key(path):
    made(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_lost_key_is_not_replaced_where_there_is_a_database(path):
    with pytest.raises(KeyUnavailable, match="backup"):
        load_or_create_root_key(path, may_create=False)
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_key_that_others_can_read_is_refused_with_the_cure(path, mode):
    made(path)
    path.chmod(mode)
    with pytest.raises(KeyUnavailable, match=f"chmod 600 {path}"):
        made(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-5],
        lambda text: text.replace("v1", "v2"),
        lambda text: text[:-3] + "zz\n",
        lambda text: text + "00",
        lambda text: "\xff" + text,
        lambda text: text.split()[-1],
    ],
)
def test_a_damaged_key_file_is_refused_and_left_alone(path, change):
    made(path)
    damaged = change(path.read_text())
    path.write_text(damaged, encoding="latin-1")
    with pytest.raises(KeyUnavailable):
        made(path)
    assert path.read_text(encoding="latin-1") == damaged


def test_a_folder_in_its_place_is_refused(path):
    path.mkdir()
    with pytest.raises(KeyUnavailable):
        made(path)


def test_a_private_file_replaces_what_was_there_and_what_a_crash_left(path):
    path.write_text("old")
    path.with_name(".root.key.part").write_text("half")
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
