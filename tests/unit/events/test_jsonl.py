import asyncio
import json
import os
import resource
import stat
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vivavoce.errors import DeliveryFailed, SettingsInvalid, SinkBusy
from vivavoce.events.jsonl import JsonLinesSink

pytestmark = pytest.mark.anyio


def line(number):
    return json.dumps({"version": "0", "id": str(number)}, separators=(",", ":"))


def ids(path):
    return [json.loads(text)["id"] for text in path.read_text("utf-8").splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


@pytest.fixture
async def sink(path):
    sink = JsonLinesSink(path)
    yield sink
    await sink.close()


async def test_each_event_is_a_line(sink, path):
    for number in range(3):
        await sink.deliver(str(number), line(number))
    assert path.read_text("utf-8") == "".join(f"{line(number)}\n" for number in range(3))


async def test_only_its_owner_can_read_the_file(sink, path):
    await sink.deliver("1", line(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_events_at_the_same_time_do_not_mix(sink, path):
    await asyncio.gather(*(sink.deliver(str(number), line(number)) for number in range(50)))
    assert sorted(ids(path), key=int) == [str(number) for number in range(50)]


async def test_a_file_that_is_there_is_continued(sink, path):
    path.write_text(f"{line(0)}\n", "utf-8")
    await sink.deliver("1", line(1))
    assert ids(path) == ["0", "1"]


@pytest.mark.parametrize(
    "torn", ["{", line(9)[:-1], line(9), "\0\0\0\0", line(9)[:5] + "\0" * 9, "\0" * 200_000]
)
async def test_a_line_that_a_crash_cut_off_is_taken_away(sink, path, torn):
    path.write_text(f"{line(0)}\n{torn}", "utf-8")
    await sink.deliver("1", line(1))
    assert ids(path) == ["0", "1"]


@pytest.mark.parametrize("before", ["", f"{line(0)}\n", "x" * 200_000 + "\n"])
async def test_what_somebody_else_wrote_is_not_touched(sink, path, before):
    path.write_text(f"{before}a note without an end", "utf-8")
    await sink.deliver("1", line(1))
    assert path.read_text("utf-8") == f"{before}a note without an end\n{line(1)}\n"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 200))
def test_a_crash_at_any_byte_leaves_only_whole_lines(tmp_path, cut):
    path = tmp_path / "cut.jsonl"
    whole = "".join(f"{line(number)}\n" for number in range(7)).encode()
    path.write_bytes(whole[:cut])

    async def go_on():
        sink = JsonLinesSink(path)
        await sink.deliver("new", line("new"))
        await sink.close()

    asyncio.run(go_on())
    kept = whole[:cut].count(b"\n")
    assert ids(path) == [*(str(number) for number in range(kept)), "new"]


async def test_a_file_that_was_rotated_away_is_begun_anew(sink, path):
    await sink.deliver("1", line(1))
    rotated = path.rename(path.with_suffix(".1"))
    await sink.deliver("2", line(2))
    path.unlink()
    await sink.deliver("3", line(3))
    assert (ids(rotated), ids(path)) == (["1"], ["3"])


async def test_a_file_that_was_emptied_in_place_is_continued(sink, path):
    await sink.deliver("1", line(1))
    os.truncate(path, 0)
    await sink.deliver("2", line(2))
    assert ids(path) == ["2"]


async def test_a_file_that_was_replaced_is_let_go(sink, path):
    await sink.deliver("1", line(1))
    other = path.with_name("other")
    other.write_text(f"{line(0)}\n", "utf-8")
    other.replace(path)
    await sink.deliver("2", line(2))
    assert ids(path) == ["0", "2"]


async def test_a_missing_folder_is_an_error_that_may_pass(path):
    sink = JsonLinesSink(path.parent / "missing" / "events.jsonl")
    with pytest.raises(SinkBusy, match=r"missing/events\.jsonl cannot be written: No such file"):
        await sink.deliver("1", line(1))
    (path.parent / "missing").mkdir()
    await sink.deliver("1", line(1))
    await sink.close()


@pytest.mark.parametrize(
    ("place", "reason"), [("missing/events.jsonl", "No such file"), ("", "Is a directory")]
)
def test_a_place_that_cannot_be_written_is_found_at_start(tmp_path, place, reason):
    path = tmp_path / place
    with pytest.raises(SettingsInvalid, match=f"events_file: {path} cannot be written: {reason}"):
        JsonLinesSink(path).open()


async def test_a_file_that_was_opened_at_start_takes_events(sink, path):
    sink.open()
    assert path.read_text("utf-8") == ""
    await sink.deliver("1", line(1))
    assert ids(path) == ["1"]


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo], ids=["folder", "pipe"])
async def test_what_is_not_a_file_is_refused_at_once(sink, path, make):
    make(path)
    async with asyncio.timeout(5):
        with pytest.raises(SinkBusy, match="cannot be written"):
            await sink.deliver("1", line(1))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as Linux has it")
async def test_a_device_is_refused(tmp_path):
    sink = JsonLinesSink(tmp_path / "link")
    (tmp_path / "link").symlink_to("/dev/full")
    with pytest.raises(SinkBusy, match="not a file"):
        await sink.deliver("1", line(1))


@contextmanager
def files_no_longer_than(size_bytes):
    """The kernel takes what fits and refuses the rest, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_leaves_no_half_line_and_may_pass(sink, path):
    await sink.deliver("1", line(1))
    with files_no_longer_than(path.stat().st_size + 10), pytest.raises(SinkBusy, match="too large"):
        await sink.deliver("2", line(2))
    assert ids(path) == ["1"]
    await sink.deliver("2", line(2))
    assert ids(path) == ["1", "2"]


async def test_more_than_one_line_is_refused_for_good(sink, path):
    with pytest.raises(DeliveryFailed) as refused:
        await sink.deliver("1", '{"version":"0"}\n{"version":"0"}')
    assert refused.value.is_final
    assert not path.exists()
