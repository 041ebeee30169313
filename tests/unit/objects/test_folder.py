import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.errors import ObjectError, ObjectsDown
from vivavoce.objects.folder import FolderObjects
from vivavoce.objects.objects import Place

ROLE = "arn:aws:iam::123456789012:role/voice"
PLACE = Place.of("s3://calls/a/b.wav")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "objects" / "calls" / "a").mkdir(parents=True)
    return tmp_path / "objects"


@pytest.fixture
def fetch(folder, tmp_path):
    def fetch(place=PLACE, limit_bytes=1000):
        copy = tmp_path / "copy"
        FolderObjects(folder).fetch(place, copy, role_arn=ROLE, limit_bytes=limit_bytes)
        return copy.read_bytes()

    return fetch


def store(folder, content, place=PLACE):
    source = folder.parent / "source"
    source.write_bytes(content)
    FolderObjects(folder).store(place, source, role_arn=ROLE, kms_key_id="alias/any")


def test_an_object_is_a_file_below_its_bucket(folder, fetch):
    (folder / "calls" / "a" / "b.wav").write_bytes(b"sound")
    assert fetch() == b"sound"


def test_what_is_stored_is_fetched_and_replaces_what_was_there(folder, fetch):
    place = Place.of("s3://results/new/folders/x.out")
    for content in (b"first", b"second"):
        store(folder, content, place)
        assert fetch(place) == content
    assert [path.name for path in (folder / "results/new/folders").iterdir()] == ["x.out"]


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("s3://calls/missing", 404),
        ("s3://other/b.wav", 404),
        ("s3://calls/a", 404),
        ("s3://calls/a/b.wav/c", 403),
        ("s3://calls/out", 403),
        ("s3://calls/" + "x" * 300, 400),
    ],
)
def test_what_cannot_be_fetched_says_why(folder, fetch, uri, code):
    (folder / "calls" / "a" / "b.wav").write_bytes(b"sound")
    (folder.parent / "secret").write_bytes(b"secret")
    (folder / "calls" / "out").symlink_to(folder.parent / "secret")
    with pytest.raises(ObjectError, match=re.escape(uri[:40])) as refused:
        fetch(Place.of(uri))
    assert refused.value.code == code


def test_a_link_within_the_bucket_is_followed_and_one_out_of_it_is_not_written_through(folder):
    (folder / "calls" / "elsewhere").symlink_to(folder.parent)
    with pytest.raises(ObjectError, match="leads out"):
        store(folder, b"x", Place.of("s3://calls/elsewhere/new/x.out"))
    assert not (folder.parent / "new").exists()


def test_an_object_over_the_limit_is_refused(folder, fetch):
    path = folder / "calls" / "a" / "b.wav"
    path.write_bytes(bytes(1000))
    assert len(fetch()) == 1000
    path.write_bytes(bytes(1001))
    with pytest.raises(ObjectError, match="at most"):
        fetch()


def test_an_object_that_grows_while_it_is_read_is_refused(folder, fetch, monkeypatch):
    path = folder / "calls" / "a" / "b.wav"
    path.write_bytes(bytes(500))

    def grows(source, copy, limit_bytes):
        copy.write(source.read())
        with path.open("ab") as more:
            more.write(bytes(10))
        more = source.read()
        copy.write(more)
        return 500 + len(more)

    monkeypatch.setattr("vivavoce.objects.folder._copy", grows)
    with pytest.raises(ObjectError, match="changed while it was read"):
        fetch()


def test_a_folder_that_cannot_be_written_is_said(folder):
    (folder / "results").write_bytes(b"a file, not a bucket")
    with pytest.raises((ObjectError, ObjectsDown), match=r"s3://results/x.out"):
        store(folder, b"x", Place.of("s3://results/x.out"))


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "s3://",
        "s3://calls",
        "s3://calls/",
        "s3://calls/a/",
        "s3://../calls/x",
        "s3://Calls/x",
        "s3://calls/\ud800",
        "s3://calls/" + "ä" * 600,
        "file:///etc/passwd",
    ],
)
def test_what_names_no_object_is_refused(uri):
    with pytest.raises(ObjectError) as refused:
        Place.of(uri)
    assert refused.value.code == 400


@pytest.mark.parametrize(
    "key",
    ["../secret", "a/../../secret", "a/..", ".", "a//b.wav", "a/./b.wav", "a\\b", "a\0b", "/x"],
)
def test_a_key_that_leads_elsewhere_is_refused(folder, fetch, key):
    (folder / "secret").write_bytes(b"secret")
    (folder / "calls" / "a" / "b.wav").write_bytes(b"sound")
    for act in (fetch, lambda place: store(folder, b"x", place)):
        with pytest.raises(ObjectError) as refused:
            act(Place.of(f"s3://calls/{key}"))
        assert refused.value.code == 400


@given(key=st.text(alphabet=st.sampled_from("./\\\0a"), min_size=1, max_size=9))
def test_whatever_the_key_nothing_outside_the_bucket_is_read(tmp_path_factory, key):
    folder = tmp_path_factory.getbasetemp() / "keys"
    (folder / "calls").mkdir(parents=True, exist_ok=True)
    for outside in ("a", "aa", "..a"):
        (folder / outside).write_bytes(b"secret")
    copy = folder / "copy"
    with pytest.raises(ObjectError):
        FolderObjects(folder).fetch(
            Place.of(f"s3://calls/{key}"), copy, role_arn=ROLE, limit_bytes=99
        )


def test_a_pipe_is_no_file_and_is_not_waited_for(folder, fetch):
    os.mkfifo(folder / "calls" / "a" / "b.wav")
    with pytest.raises(ObjectError, match="no file"):
        fetch()
