import collections
import io
import os
import pickle
import struct
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivavoce.errors import ModelInvalid
from vivavoce.models.checkpoint import read_checkpoint

HEADER = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]


class Global:
    """Pickles as a reference to a global that need not exist here."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Reference:
    """Pickles as a persistent id."""

    def __init__(self, pid):
        self.pid = pid


class Call:
    """Pickles as a call of a global."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


FLOAT_STORAGE = Global("torch", "FloatStorage")
REBUILD = Global("torch._utils", "_rebuild_tensor_v2")


Plain: Any = pickle._Pickler  # pyright: ignore[reportAttributeAccessIssue]


class Writer(Plain):
    """The pure Python pickler, taught to write what PyTorch would."""

    dispatch: ClassVar = dict(Plain.dispatch)

    def save_global_stand_in(self, stand_in):
        self.write(b"c" + stand_in.module.encode() + b"\n" + stand_in.name.encode() + b"\n")

    def save_call(self, call):
        self.save(call.function)
        self.save(call.arguments)
        self.write(b"R")

    dispatch[Global] = save_global_stand_in
    dispatch[Call] = save_call

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Reference) else None


def pickled(obj):
    stream = io.BytesIO()
    Writer(stream, protocol=2).dump(obj)
    return stream.getvalue()


def tensor(key, values, offset, shape, strides=None, storage=FLOAT_STORAGE):
    if strides is None:
        strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    reference = Reference(("storage", storage, key, "cuda:0", values, None))
    hooks = Call(Global("collections", "OrderedDict"))
    return Call(REBUILD, reference, offset, shape, strides, False, hooks)


def checkpoint(state, storages, header=HEADER):
    parts = [pickled(member) for member in header]
    parts += [pickled({"step": 3, "model_state": state}), pickled(sorted(storages))]
    for key in sorted(storages):
        parts += [struct.pack("<q", len(storages[key])), storages[key].astype("<f4").tobytes()]
    return b"".join(parts)


VALUES = np.arange(20, dtype=np.float32)
GOOD = {"a": tensor("1", 20, 4, (2, 3)), "b": tensor("1", 20, 0, (4,)), "c": tensor("2", 1, 0, ())}
STORAGES = {"1": VALUES, "2": np.array([7.5], np.float32)}


def test_tensors_are_read_from_shared_storages():
    got = read_checkpoint(checkpoint(GOOD, STORAGES), member="model_state")
    np.testing.assert_array_equal(got["a"], [[4, 5, 6], [7, 8, 9]])
    np.testing.assert_array_equal(got["b"], [0, 1, 2, 3])
    assert got["c"] == np.float32(7.5)
    assert got["a"].dtype == np.float32


def test_a_pickle_that_would_run_a_program_does_not(tmp_path):
    witness = tmp_path / "witness"
    evil = Call(Global("os", "system"), f"touch {witness}")
    with pytest.raises(ModelInvalid, match=r"os\.system"):
        read_checkpoint(checkpoint({"a": evil}, {}), member="model_state")
    assert not witness.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("collections", "namedtuple"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("numpy", "load"),
        (os.name, "system"),
    ],
)
def test_no_other_global_is_let_in(module, name):
    with pytest.raises(ModelInvalid, match="weights do not need"):
        read_checkpoint(checkpoint({"a": Global(module, name)}, {}), member="model_state")


def test_a_program_in_the_list_of_storages_does_not_run_either():
    content = b"".join(pickled(part) for part in [*HEADER, {"model_state": {}}])
    with pytest.raises(ModelInvalid, match=r"builtins\.print"):
        read_checkpoint(
            content + pickled(Call(Global("builtins", "print"), "x")), member="model_state"
        )


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": tensor("1", 20, 15, (2, 3))}, "one piece"),
        ({"a": tensor("1", 20, -1, (2, 3))}, "one piece"),
        ({"a": tensor("1", 20, 0, (2, 3), (1, 2))}, "one piece"),
        ({"a": tensor("1", 20, 0, (1 << 60, 1 << 60))}, "one piece"),
        ({"a": tensor("9", 20, 0, (2, 3))}, "damaged"),
        ({"a": tensor("1", 20, 0, (2, 3), storage=REBUILD)}, "32-bit"),
        ({"a": 3}, "damaged"),
        ([], "damaged"),
    ],
)
def test_a_tensor_that_lies_wrong_is_refused(state, message):
    with pytest.raises(ModelInvalid, match=message):
        read_checkpoint(checkpoint(state, STORAGES), member="model_state")


@pytest.mark.parametrize(
    "header",
    [
        [1, *HEADER[1:]],
        [HEADER[0], 1000, HEADER[2]],
        [*HEADER[:2], {"little_endian": False}],
        [*HEADER[:2], {}],
    ],
)
def test_another_format_is_refused(header):
    with pytest.raises(ModelInvalid):
        read_checkpoint(checkpoint(GOOD, STORAGES, header), member="model_state")


def test_a_missing_member_is_refused():
    with pytest.raises(ModelInvalid):
        read_checkpoint(checkpoint(GOOD, STORAGES), member="weights")


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_a_checkpoint_cut_short_is_refused(end):
    content = checkpoint(GOOD, STORAGES)
    with pytest.raises(ModelInvalid):
        read_checkpoint(content[: end % len(content)], member="model_state")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(content):
    with pytest.raises(ModelInvalid):
        read_checkpoint(content, member="model_state")


def test_ordered_dictionaries_are_plain_ones():
    state = Call(Global("collections", "OrderedDict"), [["c", GOOD["c"]]])
    got = read_checkpoint(checkpoint(state, STORAGES), member="model_state")
    assert isinstance(got, dict)
    assert not isinstance(got, collections.OrderedDict)
    assert list(got) == ["c"]
