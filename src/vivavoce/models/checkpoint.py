"""Reads the weights out of a PyTorch checkpoint, without PyTorch and without running its code.

The format is the one of `torch.save` before version 1.6: four pickles (a magic number, a protocol
version, facts about the machine, the saved object), a fifth with the keys of the storages, then
each storage as a 64-bit count and its raw values. In the saved object a tensor is a reference to a
storage with offset, shape and strides.

Source: the on-disk layout that torch.serialization._legacy_save documents in code, reimplemented.
"""

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from vivavoce.audio.arrays import Floats
from vivavoce.errors import ModelInvalid

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_VALUE_BYTES = 4


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    values: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _FloatStorage:
    """Stands where the checkpoint names the type of a storage."""


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "FloatStorage"): _FloatStorage,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
}
"""All that the checkpoint needs; whatever else a pickle names is refused, so it cannot run code."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> object:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise ModelInvalid(
                f"The checkpoint names {module_name}.{global_name}, which weights do not need;"
                " it is not loaded"
            ) from None

    def persistent_load(self, pid: object) -> _Storage:
        kind, storage_type, key, _device, values, view = cast("tuple[Any, ...]", pid)
        if kind != "storage" or storage_type is not _FloatStorage or view is not None:
            raise ModelInvalid("The checkpoint holds something other than 32-bit storages")
        return _Storage(str(key), int(values))


def read_checkpoint(content: bytes, *, member: str) -> dict[str, Floats]:
    """The tensors of one member of a checkpoint.

    Args:
        content: the file.
        member: key of the saved dictionary whose value is a dictionary of tensors.

    Returns:
        Name to array, each of its own shape.

    Raises:
        ModelInvalid: not a checkpoint of this format, damaged, or naming anything but tensors.
    """
    stream = io.BytesIO(content)
    try:
        _check_header(stream)
        saved: Mapping[str, Mapping[str, _Tensor]] = _Unpickler(stream).load()
        tensors = saved[member]
        storages = _read_storages(stream, keys=_Unpickler(stream).load())
        return {name: _array(tensor, storages) for name, tensor in tensors.items()}
    except ModelInvalid:
        raise
    # A damaged pickle may raise nearly anything: it is a program in a small language.
    except (Exception, MemoryError) as error:
        raise ModelInvalid(f"The checkpoint is damaged: {error!r}") from error


def _check_header(stream: io.BytesIO) -> None:
    if (_Unpickler(stream).load(), _Unpickler(stream).load()) != (_MAGIC, _PROTOCOL):
        raise ModelInvalid("The checkpoint is not in PyTorch's format from before version 1.6")
    if not _Unpickler(stream).load()["little_endian"]:
        raise ModelInvalid("The checkpoint was written on a big-endian machine")


def _read_storages(stream: io.BytesIO, *, keys: list[str]) -> dict[str, Floats]:
    storages: dict[str, Floats] = {}
    for key in keys:
        values = int.from_bytes(stream.read(8), "little")
        raw = stream.read(values * _VALUE_BYTES)
        if len(raw) != values * _VALUE_BYTES:
            raise ModelInvalid("The checkpoint ends in the middle of its weights")
        storages[key] = np.frombuffer(raw, dtype="<f4").astype(np.float32)
    return storages


def _array(tensor: _Tensor, storages: Mapping[str, Floats]) -> Floats:
    values = storages[tensor.storage.key]
    contiguous = tuple(math.prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape)))
    size = math.prod(tensor.shape)
    if tensor.strides != contiguous or not 0 <= tensor.offset <= values.size - size:
        raise ModelInvalid("The checkpoint holds a tensor that does not lie in one piece")
    return values[tensor.offset : tensor.offset + size].reshape(tensor.shape)
