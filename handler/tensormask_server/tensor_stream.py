"""The zip that torch.save writes, written piece by piece, so that a tensor of it is never in memory as a whole."""

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

import numpy as np
import torch

STORAGES = {
    np.dtype(bool): torch.BoolStorage,
    np.dtype(np.int64): torch.LongStorage,
    np.dtype(np.float32): torch.FloatStorage,
}


class Sink(Protocol):
    """What can be written to, and no more."""

    def write(self, data: bytes, /) -> int: ...

    def flush(self) -> None: ...


@dataclass(frozen=True)
class StreamedTensor:
    """A tensor that is to be; its bytes come in parts."""

    dtype: np.dtype[Any]  # of STORAGES
    shape: tuple[int, ...]
    parts: Iterable[np.ndarray]  # of this type, contiguous; one after the other they are the tensor

    @classmethod
    def of_array(cls, array: np.ndarray) -> "StreamedTensor":
        return cls(array.dtype, array.shape, (np.ascontiguousarray(array),))


def write_tensors(sink: Sink, tensors: Mapping[str, StreamedTensor]) -> None:
    """Writes what torch.save writes of a dict of such tensors; `torch.load(…, weights_only=True)` opens it.

    The same tensors give the same bytes. The sink is never asked where it is.
    """
    # zipfile looks for tell() and seek(), and a gzip has them and can't go back
    with zipfile.ZipFile(_OneWay(sink), "w") as archive:  # type: ignore[call-overload]
        archive.writestr(_entry("data.pkl"), _pickled(tensors))
        archive.writestr(_entry("byteorder"), "little")
        for number, tensor in enumerate(tensors.values()):
            with archive.open(_entry(f"data/{number}"), "w", force_zip64=True) as file:
                for part in tensor.parts:
                    file.write(part.data)
        archive.writestr(_entry("version"), "3\n")


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"archive/{name}")  # of no date; stored, not deflated


def _pickled(tensors: Mapping[str, StreamedTensor]) -> bytes:
    content = BytesIO()
    numbers = {id(tensor): str(number) for number, tensor in enumerate(tensors.values())}
    _TensorPickler(content, numbers).dump(dict(tensors))
    return content.getvalue()


@dataclass(frozen=True)
class _Storage:
    """The bytes of a tensor, which stand in a file of their own."""

    tensor: StreamedTensor
    number: str


class _TensorPickler(pickle.Pickler):
    """Pickles a StreamedTensor as torch pickles a contiguous tensor on the CPU."""

    def __init__(self, file: BytesIO, numbers: Mapping[int, str]):
        super().__init__(file, protocol=2)
        self._numbers = numbers

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, _Storage):
            kind = STORAGES[obj.tensor.dtype]
            return "storage", kind, obj.number, "cpu", math.prod(obj.tensor.shape)
        return None

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, StreamedTensor):
            return NotImplemented
        strides = tuple(math.prod(obj.shape[axis + 1 :]) for axis in range(len(obj.shape)))
        storage = _Storage(obj, self._numbers[id(obj)])
        return torch._utils._rebuild_tensor_v2, (storage, 0, obj.shape, strides, False, OrderedDict())


class _OneWay:
    """A sink that hides what else its object can do."""

    def __init__(self, sink: Sink):
        self.write = sink.write
        self.flush = sink.flush
