"""Reads pickles of numpy arrays and plain containers without calling anything that the file names.

Python's unpickler calls whatever a file names, so a stranger's file of weights could do anything. Here the few names
that arrays need stand for functions of this module, which check their arguments. Every other name is refused.
"""

import math
import pickle
import re
from collections.abc import Callable, Mapping
from io import BytesIO
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from tensormask_server.printable import printable, quoted

# the most bytes of arrays, and of what they are made from, as a multiple of the file's bytes
EXPANSION = 4


class RefusedPickle(ValueError):
    """The pickle holds something else than arrays and plain containers. The message names it."""


class CutShort(ValueError):
    """A file ends before its content does."""

    def __init__(self, least: int):
        """
        Args:
            least: how many bytes the whole file has at least.
        """
        super().__init__(f"expected at least {least} bytes")
        self.least = least


class MeasuredBytes(BytesIO):
    """Bytes to read, which know how many of them a reader wanted."""

    def __init__(self, content: bytes):
        super().__init__(content)
        self.wanted = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size >= 0:
            self.wanted = max(self.wanted, self.tell() + size)
        return super().read(size)

    def check_whole(self) -> None:
        """
        Raises:
            CutShort: a reader wanted more bytes than there are.
        """
        if self.wanted > len(self.getbuffer()):
            raise CutShort(self.wanted)


class ArrayUnpickler(pickle._Unpickler):
    """Python's unpickler without the operations that could call, change or compare anything that isn't admitted.

    The base class is the unpickler written in Python. The one in C accepts a tuple as a key. The hash of a tuple that
    holds the same tuple twice, forty levels deep, keeps it busy for years.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]

    def __init__(
        self, file: MeasuredBytes, size: int, admitted: Mapping[str, Callable[..., Any]] = MappingProxyType({})
    ):
        """
        Args:
            file: where the pickle begins.
            size: of the whole file, bytes.
            admitted: from "module.name" to what it stands for, in addition to the names that numpy's arrays need.
        """
        super().__init__(file, encoding="latin1")
        self._file = file
        self._admitted = _ADMITTED | dict(admitted)
        self._bytes_left = EXPANSION * size

    def load(self) -> Any:
        """Reads one pickle, of protocol 0 to 5, from Python 2 or 3. Time and memory grow only with the file's size.

        Returns:
            Dicts, lists, numbers, strings and numpy arrays.

        Raises:
            RefusedPickle: the pickle holds anything else.
            CutShort: the file ends within the pickle.
            Exception: of any type, as `pickle.load`, if the pickle is broken.
        """
        try:
            return _plain(super().load(), {})
        except RefusedPickle:
            raise
        except Exception:
            self._file.check_whole()
            raise

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}".replace("numpy._core.", "numpy.core.", 1)
        if full_name not in self._admitted:
            raise RefusedPickle(
                f"it asks for {printable(full_name)}; only numpy arrays and plain containers are admitted"
            )
        return self._admitted[full_name]

    def persistent_load(self, _pid: Any) -> Any:
        raise RefusedPickle("it asks for a persistent object; only numpy arrays and plain containers are admitted")

    def _call(self) -> None:
        arguments = self.stack.pop()
        result = self.stack[-1](*arguments)
        self._count(result)
        self.stack[-1] = result

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, _Array | _Dtype):
            target.set_state(state)
            self._count(target)
        elif not isinstance(
            target, dict
        ):  # the attributes of an OrderedDict, such as a state_dict's _metadata, are ignored
            raise RefusedPickle(f"it sets the state of a {type(target).__name__}; only arrays and dtypes may have one")

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def _set_items(self) -> None:
        self._set(self.pop_mark())

    def _set_item(self) -> None:
        value = self.stack.pop()
        self._set([self.stack.pop(), value])

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise RefusedPickle(f"it sets an item of a {type(target).__name__}; only dicts have items")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def _refuse(self) -> None:
        raise RefusedPickle("it asks for an object or a set; only numpy arrays and plain containers are admitted")

    def _count(self, result: Any) -> None:
        """Counts bytes of arrays, so that a pickle can't multiply a few bytes into very many."""
        array = result.array if isinstance(result, _Array) else result
        if isinstance(array, bytes):
            self._bytes_left -= len(array)
        elif isinstance(array, np.ndarray):
            self._bytes_left -= array.nbytes
        if self._bytes_left < 0:
            raise RefusedPickle(f"its arrays have more than {EXPANSION} times the bytes of the file")

    def _bytearray(self) -> None:
        """Reads as the base class does, which allocates and clears all bytes before it reads the first one."""
        count = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(count)))

    dispatch |= {
        pickle.BYTEARRAY8[0]: _bytearray,
        pickle.REDUCE[0]: _call,
        pickle.BUILD[0]: _build,
        pickle.DICT[0]: _dict,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
    }
    dispatch |= dict.fromkeys(pickle.OBJ + pickle.NEWOBJ + pickle.NEWOBJ_EX, _refuse)
    dispatch |= dict.fromkeys(pickle.EXT1 + pickle.EXT2 + pickle.EXT4 + pickle.NEXT_BUFFER, _refuse)
    dispatch |= dict.fromkeys(pickle.EMPTY_SET + pickle.ADDITEMS + pickle.FROZENSET, _refuse)


def _key(key: Any) -> Any:
    if not isinstance(key, str | bytes | int | float | None):
        raise RefusedPickle(f"it has a {type(key).__name__} as a key; only strings and numbers are admitted")
    return key


class _Dtype:
    """Stands for numpy.dtype, of numbers only."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any):
        if not isinstance(code, str):
            raise RefusedPickle(f"it holds an array of type {type(code).__name__}; only arrays of numbers are admitted")
        if not re.fullmatch(r"[<>=|]?([fiu]\d|b1)", code):
            raise RefusedPickle(f"it holds an array of type {quoted(code)}; only arrays of numbers are admitted")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        byte_order = state[1]
        if byte_order not in ("<", ">", "=", "|"):
            raise RefusedPickle("it holds an array of an unknown byte order")
        self.dtype = self.dtype.newbyteorder(byte_order)


class _Array:
    """Stands for numpy.ndarray. Its array is None until the pickle sets its state.

    The state is a version, the shape, the dtype, whether the order is Fortran's, and the bytes.
    """

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        _, shape, dtype, fortran_order, data = state
        self.array = _array(data, dtype, shape, "F" if fortran_order else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    data = data.encode("latin1") if isinstance(data, str) else data
    good = (
        isinstance(data, bytes | bytearray)
        and isinstance(dtype, _Dtype)
        and isinstance(shape, tuple)
        and all(isinstance(length, int) and length >= 0 for length in shape)
        and order in ("C", "F")
    )
    if not good or len(data) != math.prod(shape) * dtype.dtype.itemsize:
        raise RefusedPickle("it holds an array whose bytes don't fit its type and shape")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    """Stands for numpy's function of protocol 5. With order "K", `axes` transposes the array after it is made."""
    array = _array(data, dtype, shape, "C" if order == "K" else order)
    return array.transpose(axes) if order == "K" and axes is not None else array


def _scalar(dtype: Any, data: Any) -> Any:
    return _array(data, dtype, (), "C")[()]


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or not isinstance(encoding, str) or encoding != "latin1":
        codec = quoted(encoding) if isinstance(encoding, str) else f"a {type(encoding).__name__}"
        raise RefusedPickle(f"it asks for the codec {codec}; only latin1, for bytes, is admitted")
    return text.encode("latin1")


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    return {_key(key): value for key, value in pairs}


def _plain(value: Any, known: dict[int, Any]) -> Any:
    """The content with arrays in place of their stand-ins.

    Args:
        known: the dicts that were replaced so far, by the original's id. A dict can contain itself.
    """
    if isinstance(value, _Array):
        return value.array
    if not isinstance(value, dict):
        return value
    if id(value) not in known:
        known[id(value)] = plain = {}
        plain.update({key: _plain(each, known) for key, each in value.items()})
    return known[id(value)]


_ADMITTED: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "_codecs.encode": _encode,
    "numpy.ndarray": lambda *_: _Array(),
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
}
