import asyncio
import os
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, cast

import pytest
import soundfile

from tests.fakes import LoudDetector, spoof_evidence, towards, voice, voices_found
from vivavoce.errors import EntryFailed, ObjectsDown
from vivavoce.jobs.hearing import Request
from vivavoce.jobs.manifest import AudioFile
from vivavoce.jobs.processes import HearingProcesses
from vivavoce.objects.folder import FolderObjects

pytestmark = pytest.mark.anyio

DEADLY, LONG = 7, 40


class FakeModels:
    """Stands for `Models`; dies of a voice of one level."""

    model = "fake@1"
    spoof_model = "fake-spoof@1"

    @staticmethod
    def new_detector():
        return LoudDetector()

    def hear(self, speech, memory):
        if round(float(speech.mean()) / 1000) == DEADLY:
            os._exit(1)
        return towards(1), voices_found(two=False)

    def spoof_evidence(self, speech):
        return spoof_evidence()


def cannot_load():
    raise OSError("no models")


@pytest.fixture
def bucket(tmp_path):
    folder = tmp_path / "objects" / "calls"
    folder.mkdir(parents=True)
    for level in (3, DEADLY):
        soundfile.write(folder / f"{level}.wav", voice(level, LONG), 8000)
    return folder


@pytest.fixture
async def hearing(tmp_path, bucket):
    hearing = HearingProcesses(
        load=cast("Any", FakeModels),
        objects=partial(FolderObjects, bucket.parent),
        folder=tmp_path,
        count=2,
    )
    yield hearing
    await hearing.rest()


def request(name):
    files = (AudioFile(uri=f"s3://calls/{name}.wav", channel=0),)
    return Request(files=files, role_arn="arn", is_strict=False)


async def test_an_entry_is_heard_elsewhere_and_again_after_a_rest(hearing):
    for _ in range(2):
        heard = await hearing.hear(request(3))
        assert (heard.seconds, heard.model) == (30, "fake@1")
        await hearing.rest()


async def test_what_is_wrong_with_an_entry_comes_back_as_it_was_raised(hearing):
    with pytest.raises(EntryFailed, match=r"AudioSpecifications\[0\] does not exist"):
        await hearing.hear(request("missing"))


async def test_an_entry_that_kills_its_process_takes_no_other_along(hearing):
    first, deadly, *others = await asyncio.gather(
        *(hearing.hear(request(level)) for level in (3, DEADLY, 3, 3)), return_exceptions=True
    )
    assert isinstance(deadly, BrokenProcessPool)
    assert [getattr(heard, "seconds", heard) for heard in (first, *others)] == [30, 30, 30]


async def test_processes_that_do_not_start_are_not_the_entrys_fault(tmp_path, bucket, capfd):
    hearing = HearingProcesses(
        load=cannot_load,
        objects=partial(FolderObjects, bucket.parent),
        folder=tmp_path,
        count=1,
    )
    with pytest.raises(ObjectsDown, match="do not start"):
        await hearing.hear(request(3))
    await hearing.rest()
