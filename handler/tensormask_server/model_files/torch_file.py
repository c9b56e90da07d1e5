"""Reads torch's files (.pth) without torch.load, both today's zip format and the format before it, and pickles.

torch.load with `weights_only` doesn't run code of a file either. But a file of a kilobyte can make it allocate any
number of bytes, or compute for years. Here `ArrayUnpickler` reads the pickle in the file, and tensors are views of the
file's own bytes.
"""

import contextlib
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from tensormask_server.model_files.array_pickle import EXPANSION, ArrayUnpickler
from tensormask_server.model_files.array_stand_ins import RefusedPickle
from tensormask_server.model_files.file_kinds import LEGACY_MAGIC, ZIP
from tensormask_server.model_files.measured_bytes import CutShort, MeasuredBytes
from tensormask_server.printable import printable

LEGACY_PROTOCOL = 1001
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def read_torch_file(content: bytes) -> Any:
    """Reads the object that was given to `torch.save`. Time and memory grow only with the length of `content`.

    Args:
        content: of the whole file.

    Returns:
        Dicts, lists, numbers, strings, tensors and numpy arrays.

    Raises:
        RefusedPickle: the file holds anything else.
        CutShort: the file ends before its content does.
        Exception: of any type, if the file is broken or isn't one of torch's.
    """
    if not content.startswith(ZIP):
        return _read_legacy(content)
    if not zipfile.is_zipfile(BytesIO(content)):  # the table of its files is at its end
        raise CutShort(_least_of_zip(content))
    return _read_zip(content)


def read_pickle(content: bytes) -> Any:
    """Reads what `pickle.dump` wrote of numpy arrays, as detectron2's files are, or of torch's tensors.

    Returns, Raises:
        as `read_torch_file`.
    """
    bytes_left = EXPANSION * len(content)

    def storage_of(data: Any) -> _Storage:
        """Stands for torch's function: a storage in such a pickle is a file of its own, in the older format."""
        nonlocal bytes_left
        if not isinstance(data, bytes):
            raise RefusedPickle("it holds a storage without bytes")
        bytes_left -= len(data)
        try:
            storage = _read_legacy(data) if bytes_left >= 0 else None
        except CutShort as error:  # its bytes are not those of the file
            raise RefusedPickle("it holds a storage whose bytes end too early") from error
        if not isinstance(storage, _Storage):
            raise RefusedPickle("it holds a storage of something else than numbers, or more than it has bytes for")
        return storage

    def no_storage(key: str, _dtype: torch.dtype, _count: int) -> Tensor:
        raise RefusedPickle(f"it asks for a storage {printable(key)} of another file")

    file = MeasuredBytes(content)
    return _TorchUnpickler(file, len(content), no_storage, {"torch.storage._load_from_bytes": storage_of}).load()


def _read_zip(content: bytes) -> Any:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise RefusedPickle("it is compressed; expected a zip without compression, as torch.save writes it")
        if sum(entry.file_size for entry in entries) > len(content):
            raise RefusedPickle("the files in it have more bytes together than it has")
        pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise RefusedPickle(f"it has {len(pickles)} files data.pkl; expected one, as torch.save writes it")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
            raise RefusedPickle(
                "its numbers are big-endian; expected little-endian ones, as torch.save writes them on usual machines"
            )

        def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
            data = archive.read(f"{root}data/{key}")
            if len(data) != count * dtype.itemsize:
                raise RefusedPickle(
                    f"its storage {printable(key)} has {len(data)} bytes; expected {count * dtype.itemsize}"
                )
            return _numbers(bytearray(data), dtype)

        return _TorchUnpickler(MeasuredBytes(archive.read(pickles[0])), len(content), storage).load()


def _least_of_zip(content: bytes) -> int:
    """How many bytes a zip of torch's has at least, from its first file, which says how long the storages are."""
    name_length, extra_length = (int.from_bytes(content[at : at + 2], "little") for at in (26, 28))
    start = 30 + name_length + extra_length
    if not content[30 : 30 + name_length].endswith(b"/data.pkl"):
        return len(content) + 1
    least = start

    def storage(_key: str, dtype: torch.dtype, count: int) -> Tensor:
        nonlocal least
        least += count * dtype.itemsize
        return torch.empty(count, dtype=dtype, device="meta")

    with contextlib.suppress(Exception):  # cut within this file: the storages that it names up to there count
        _TorchUnpickler(MeasuredBytes(content[start:]), len(content), storage).load()
    return max(least, len(content) + 1)


def _read_legacy(content: bytes) -> Any:
    """Reads the older format: five pickles, then each storage's length and bytes.

    The pickles are the magic number, the protocol, facts of the system, the content, and the storages' keys.
    """
    file = MeasuredBytes(content)
    numbers: dict[str, bytearray] = {}
    bytes_left = len(content)

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        """Zeros to be filled, at most as many as the file has bytes for."""
        nonlocal bytes_left
        bytes_left -= count * dtype.itemsize
        if bytes_left < 0:
            raise CutShort(len(content) - bytes_left)
        numbers[key] = bytearray(count * dtype.itemsize)
        return _numbers(numbers[key], dtype)

    def load() -> Any:
        return _TorchUnpickler(file, len(content), storage).load()

    magic, protocol, system = load(), load(), load()
    if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL or system.get("little_endian") is not True:
        raise RefusedPickle("it has another beginning than torch's files; expected what torch.save writes")
    loaded, keys = load(), load()
    for key in keys:
        file.seek(8, 1)  # the storage's length, which is known from the pickle
        if file.readinto(numbers[key]) != len(numbers[key]):
            raise CutShort(len(content) + 1)
    return loaded


class _TorchUnpickler(ArrayUnpickler):
    """An `ArrayUnpickler` that also admits torch's tensors.

    Args:
        read_storage: from a storage's key, dtype and count to its numbers.
        admitted: as of `ArrayUnpickler`, in addition.
    """

    def __init__(
        self,
        file: MeasuredBytes,
        size: int,
        read_storage: Callable[[str, torch.dtype, int], Tensor],
        admitted: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
    ):
        super().__init__(file, size, _ADMITTED | dict(admitted))
        self._read_storage = read_storage
        self._storages: dict[str, _Storage] = {}

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or not isinstance(pid[1], _StorageType):
            raise RefusedPickle("it asks for a persistent object other than a storage of numbers")
        _, storage_type, key, _, count, *views = pid  # left out: "storage" and the device
        if not isinstance(key, str) or not isinstance(count, int) or count < 0 or views not in ([], [None]):
            raise RefusedPickle("it asks for a storage without a key or a length")
        if key not in self._storages:
            self._storages[key] = _Storage(self._read_storage(key, storage_type.dtype, count))
        return self._storages[key]


class _StorageType:
    """Stands for torch.FloatStorage and the like, of which only the dtype is needed."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype

    def __call__(self, *_: Any) -> Any:
        raise RefusedPickle("it makes a storage; only storages that the file holds are admitted")


class _Storage:
    """The numbers of one or several tensors, in a row."""

    def __init__(self, numbers: Tensor):
        self.numbers = numbers


def _numbers(data: bytearray, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    lengths = [offset, *size, *stride]
    good = isinstance(storage, _Storage) and all(isinstance(n, int) and 0 <= n < 1 << 62 for n in lengths)
    if not good or len(size) != len(stride):
        raise RefusedPickle("it holds a tensor without numbers, or with an impossible shape")
    return torch.as_strided(storage.numbers, size, stride, offset)


_ADMITTED: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch.Size": lambda lengths: lengths,
    "collections.Counter": lambda counts: counts,
    **{f"torch.{name}": _StorageType(dtype) for name, dtype in DTYPES.items()},
}
