"""Writes the zip file of torch.save part by part, so that no tensor has to be in memory as a whole.

torch is imported when a file is written. No other code of requests and responses needs it.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

import numpy as np


class Sink(Protocol):
    """An object to write to."""

    def write(self, data: bytes, /) -> int: ...

    def flush(self) -> None: ...


@dataclass(frozen=True)
class StreamedTensor:
    """A tensor whose bytes come in parts."""

    dtype: np.dtype[Any]  # bool, int64 or float32
    shape: tuple[int, ...]
    parts: Iterable[np.ndarray]  # contiguous arrays of this dtype; together they are the tensor, in row-major order

    @classmethod
    def of_array(cls, array: np.ndarray) -> "StreamedTensor":
        return cls(array.dtype, array.shape, (np.ascontiguousarray(array),))


def write_tensors(sink: Sink, tensors: Mapping[str, StreamedTensor]) -> None:
    """Writes the file that torch.save makes of a dict of such tensors; `torch.load(…, weights_only=True)` opens it.

    The same tensors give the same bytes.

    Args:
        sink: gets the file from its start to its end, without seeking.
        tensors: by name. Their parts are used up.
    """
    # zipfile would call a gzip file's seek(), which can't go back
    with zipfile.ZipFile(_OneWay(sink), "w") as archive:  # type: ignore[call-overload]
        archive.writestr(_entry("data.pkl"), _pickled(tensors))
        archive.writestr(_entry("byteorder"), "little")
        for number, tensor in enumerate(tensors.values()):
            with archive.open(_entry(f"data/{number}"), "w", force_zip64=True) as file:
                for part in tensor.parts:
                    file.write(part.data)
        archive.writestr(_entry("version"), "3\n")


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"archive/{name}")  # without a date; stored, not deflated


def _pickled(tensors: Mapping[str, StreamedTensor]) -> bytes:
    content = BytesIO()
    numbers = {id(tensor): str(number) for number, tensor in enumerate(tensors.values())}
    _TensorPickler(content, numbers).dump(dict(tensors))
    return content.getvalue()


@dataclass(frozen=True)
class _Storage:
    """The bytes of a tensor, which are in a file of their own."""

    tensor: StreamedTensor
    number: str


class _TensorPickler(pickle.Pickler):
    """Pickles a StreamedTensor as torch pickles a contiguous tensor on the CPU."""

    def __init__(self, file: BytesIO, numbers: Mapping[int, str]):
        import torch

        super().__init__(file, protocol=2)
        self._numbers = numbers
        self._rebuild = torch._utils._rebuild_tensor_v2
        self._storage_types = {
            np.dtype(bool): torch.BoolStorage,
            np.dtype(np.int64): torch.LongStorage,
            np.dtype(np.float32): torch.FloatStorage,
        }

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, _Storage):
            storage_type = self._storage_types[obj.tensor.dtype]
            return "storage", storage_type, obj.number, "cpu", math.prod(obj.tensor.shape)
        return None

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, StreamedTensor):
            return NotImplemented
        strides = tuple(math.prod(obj.shape[axis + 1 :]) for axis in range(len(obj.shape)))
        storage = _Storage(obj, self._numbers[id(obj)])
        return self._rebuild, (storage, 0, obj.shape, strides, False, OrderedDict())


class _OneWay:
    """A sink without the other methods of its object."""

    def __init__(self, sink: Sink):
        self.write = sink.write
        self.flush = sink.flush
