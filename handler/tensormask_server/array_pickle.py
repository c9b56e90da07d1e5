"""Pickles of numpy arrays and plain containers, read without calling anything that the file names.

Unpickling calls what a file asks for, so a weights file from a stranger could do anything. Here the few names that
arrays need stand for functions of this module, which check what they are given; every other name is refused.
"""

import math
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np


class RefusedPickle(ValueError):
    """The pickle asks for something else than arrays and plain containers. The message names it."""


def unpickle_arrays(file: BinaryIO) -> Any:
    """The content of a pickle (protocol 0 to 5, of Python 2 or 3) of dicts, lists, numbers, strings and numpy arrays.

    Raises:
        RefusedPickle: anything else is in it.
        Exception: of any type, as `pickle.load`, when the file is broken.
    """
    _check_opcodes(file)
    file.seek(0)
    return _plain(_ArrayUnpickler(file, encoding="latin1").load())


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy._core.", "numpy.core.")
        if (module, name) not in _ADMITTED:
            raise RefusedPickle(f"it asks for {module}.{name}; only numpy arrays and plain containers are admitted")
        return _ADMITTED[module, name]


def _check_opcodes(file: BinaryIO) -> None:
    """Refuses places in the memo beyond what is stored, for which the unpickler would allocate memory."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument is not None and argument > count:
            raise RefusedPickle(f"its memo has a place {argument}, with {count} things read so far")


class _Stand:
    """A callable in place of one that the pickle names; unlike a function, nothing can be set on it."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]):
        object.__setattr__(self, "_call", call)

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise RefusedPickle(f"it sets {name!r} on something that is not its own")

    def __setstate__(self, state: Any) -> None:
        raise RefusedPickle("it sets the state of something that is not its own")


class _Dtype:
    """numpy.dtype, of numbers only."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any):
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?([fiu]\d+|b1)", code):
            raise RefusedPickle(f"it holds an array of type {code!r}; only arrays of numbers are admitted")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        byte_order = state[1]
        self.dtype = self.dtype.newbyteorder(byte_order)


class _Array:
    """numpy.ndarray, None until its state comes: version, shape, dtype, whether in Fortran's order, bytes."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
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
    """numpy's own, of protocol 5: with order "K" the shape is that of the bytes, before a transposition by `axes`."""
    array = _array(data, dtype, shape, "C" if order == "K" else order)
    return array.transpose(axes) if order == "K" and axes is not None else array


def _scalar(dtype: Any, data: Any) -> Any:
    return _array(data, dtype, (), "C")[()]


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedPickle(f"it asks for the codec {encoding!r}; only latin1, for bytes, is admitted")
    return text.encode("latin1")


def _plain(value: Any) -> Any:
    """The content with arrays in place of their stand-ins."""
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


_ADMITTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Stand(OrderedDict),
    ("_codecs", "encode"): _Stand(_encode),
    ("numpy", "ndarray"): _Stand(lambda *_: _Array()),
    ("numpy", "dtype"): _Stand(_Dtype),
    ("numpy.core.multiarray", "_reconstruct"): _Stand(lambda *_: _Array()),
    ("numpy.core.multiarray", "scalar"): _Stand(_scalar),
    ("numpy.core.numeric", "_frombuffer"): _Stand(_from_buffer),
}
