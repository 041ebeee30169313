import tracemalloc

import numpy as np
import pytest
import soundfile

from tests.fakes import LEVEL, LoudDetector, silence, spoof_evidence, towards, voice, voices_found
from vivavoce.errors import EntryFailed, NotEnoughSpeech, ObjectsDown
from vivavoce.jobs.hearing import Request, hear
from vivavoce.jobs.manifest import AudioFile
from vivavoce.objects.folder import FolderObjects

ROLE = "arn:aws:iam::123456789012:role/voice"


class FakeEars:
    def __init__(self, *, two=False):
        self.judged = []
        self.two = two

    model = "ears@1"
    spoof_model = "spoof@1"

    def new_detector(self):
        return LoudDetector()

    def judge(self, speech):
        self.judged.append(speech)
        return towards(1), spoof_evidence(), voices_found(two=self.two)


@pytest.fixture
def bucket(tmp_path):
    folder = tmp_path / "objects" / "calls"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def listen(tmp_path):
    objects = FolderObjects(tmp_path / "objects")

    def listen(*names, ears=None, channel=0, is_strict=False):
        files = tuple(AudioFile(uri=f"s3://calls/{name}", channel=channel) for name in names)
        request = Request(files=files, role_arn=ROLE, is_strict=is_strict)
        (tmp_path / "work").mkdir(exist_ok=True)
        heard = hear(request, objects, ears or FakeEars(), tmp_path / "work")
        assert list((tmp_path / "work").iterdir()) == []
        return heard

    return listen


def record(path, samples, *, rate=8000, **options):
    soundfile.write(path, samples, rate, **options)


def test_speech_is_pooled_over_files_until_there_is_enough(bucket, listen):
    ears = FakeEars()
    for number, level in enumerate((3, 5, 7)):
        call = np.concatenate([silence(1), voice(level, 16), silence(1)])
        record(bucket / f"{number}.wav", call)
    heard = listen("0.wav", "1.wav", "2.wav", ears=ears)
    assert heard.seconds == 30
    (speech,) = ears.judged
    np.testing.assert_array_equal(speech, heard.speech)
    levels = set(np.unique(np.round(speech / LEVEL)).tolist())
    assert levels - {0} == {3, 5}  # the third was not needed
    assert (heard.weakness, heard.model, heard.spoof_model) == (None, "ears@1", "spoof@1")


def test_no_more_is_read_than_is_needed(bucket, listen):
    record(bucket / "0.wav", voice(3, 40))
    assert listen("0.wav", "missing.wav").seconds == 30


def test_too_little_speech_says_how_much_there_was(bucket, listen):
    record(bucket / "0.wav", np.concatenate([voice(3, 12), silence(60)]))
    with pytest.raises(NotEnoughSpeech) as refused:
        listen("0.wav")
    assert refused.value.got_s == pytest.approx(12, abs=0.2)
    assert refused.value.needed_s == 30


def test_silence_alone_is_too_little(bucket, listen):
    record(bucket / "0.wav", silence(5))
    with pytest.raises(NotEnoughSpeech):
        listen("0.wav")


def test_the_channel_is_the_one_that_was_named(bucket, listen):
    record(bucket / "0.wav", np.stack([silence(40), voice(3, 40)], axis=1))
    assert listen("0.wav", channel=1).seconds == 30
    with pytest.raises(NotEnoughSpeech):
        listen("0.wav", channel=0)


def test_two_voices_are_refused(bucket, listen):
    record(bucket / "0.wav", voice(3, 40))
    with pytest.raises(EntryFailed, match="More than one voice"):
        listen("0.wav", ears=FakeEars(two=True))


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".wav", {"rate": 16000}),
        (".wav", {"subtype": "ULAW"}),
        (".flac", {}),
        (".mp3", {"rate": 16000}),
    ],
)
def test_any_recording_will_do_unless_only_amazons_will(bucket, listen, suffix, options):
    rate = options.get("rate", 8000)
    record(bucket / f"0{suffix}", np.repeat(voice(3, 40), rate // 8000), **options)
    assert listen(f"0{suffix}").seconds == 30
    with pytest.raises(EntryFailed, match=r"sample rate|not a WAV file"):
        listen(f"0{suffix}", is_strict=True)


def test_strictly_taken_is_what_amazon_took(bucket, listen):
    record(bucket / "0.wav", np.stack([voice(3, 40), silence(40)], axis=1))
    assert listen("0.wav", is_strict=True).seconds == 30
    (bucket / "1.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(EntryFailed, match="is not a WAV file"):
        listen("1.wav", is_strict=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.wav", r"^AudioSpecifications\[0\] does not exist\.$"),
        ("folder", "is no file"),
        ("../secret.wav", "no file can have"),
        ("a\0b.wav", "no file can have"),
        ("a.w\0v", "no file can have"),
        ("loop.wav", "no file can have"),
        ("\ud800.wav", "is no text"),
        ("empty.wav", r"^AudioSpecifications\[0\] is empty\.$"),
        ("garbage.wav", r"^AudioSpecifications\[0\] is not a recording"),
        ("garbage.raw", "is not a recording"),
        ("mono.wav", "there is no 1"),
        ("large.wav", r"has 20.0 MB; at most 20 MB"),
    ],
)
def test_what_is_wrong_with_a_recording_names_its_place(bucket, listen, name, message):
    (bucket / "loop.wav").symlink_to(bucket / "loop.wav")
    (bucket / "garbage.raw").write_bytes(bytes(range(256)) * 9)
    (bucket / "folder").mkdir()
    (bucket.parent / "secret.wav").write_bytes(b"x")
    (bucket / "empty.wav").touch()
    (bucket / "garbage.wav").write_bytes(bytes(range(256)) * 9)
    record(bucket / "mono.wav", voice(3, 40))
    with (bucket / "large.wav").open("wb") as large:
        large.truncate(20_000_001)
    with pytest.raises(EntryFailed, match=message) as refused:
        listen(name, channel=1)
    for secret in ("/tmp", "calls"):
        assert secret not in str(refused.value)


def test_objects_that_cannot_be_reached_are_not_the_entrys_fault(tmp_path):
    class Down:
        def fetch(self, place, file, *, role_arn, limit_bytes):
            raise ObjectsDown("no answer")

        def store(self, place, file, *, role_arn, kms_key_id=None):
            raise AssertionError

    request = Request(
        files=(AudioFile(uri="s3://calls/0.wav", channel=0),), role_arn=ROLE, is_strict=False
    )
    with pytest.raises(ObjectsDown):
        hear(request, Down(), FakeEars(), tmp_path)


def test_a_disk_that_fails_is_not_the_entrys_fault(tmp_path):
    request = Request(files=(), role_arn=ROLE, is_strict=False)
    with pytest.raises(ObjectsDown, match="disk fails"):
        hear(request, FolderObjects(tmp_path), FakeEars(), tmp_path / "none")


def test_memory_does_not_grow_with_a_recording(bucket, listen):
    """Half an hour as 16-bit samples would be 29 MB; it is of silence, so all of it is read."""
    with soundfile.SoundFile(bucket / "0.flac", "w", samplerate=8000, channels=1) as file:
        for _ in range(30):
            file.write(silence(60))
    tracemalloc.start()
    try:
        with pytest.raises(NotEnoughSpeech):
            listen("0.flac")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8e6


def test_a_recording_without_end_is_given_up(bucket, listen, monkeypatch):
    monkeypatch.setattr("vivavoce.jobs.hearing.LONGEST_S", 5)
    record(bucket / "0.wav", silence(20))
    with pytest.raises(EntryFailed, match="longer than"):
        listen("0.wav")


def test_speech_too_quiet_is_weak(bucket, listen, monkeypatch):
    monkeypatch.setattr("tests.fakes.LEVEL", LEVEL / 100)
    record(bucket / "quiet.wav", voice(1, 40))
    assert "too quiet" in listen("quiet.wav").weakness
