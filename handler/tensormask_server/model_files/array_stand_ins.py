"""Functions and classes that stand for those of numpy in a pickle of arrays. They check their arguments."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tensormask_server.printable import quoted


class RefusedPickle(ValueError):
    """The pickle holds something else than arrays and plain containers. The message names it."""


def checked_key(key: Any) -> Any:
    """The key of a dict, if it is a string, bytes, a number or None.

    Raises:
        RefusedPickle: it is anything else.
    """
    if not isinstance(key, str | bytes | int | float | None):
        raise RefusedPickle(f"it has a {type(key).__name__} as a key; only strings and numbers are admitted")
    return key


class DtypeStandIn:
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


class ArrayStandIn:
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
        and isinstance(dtype, DtypeStandIn)
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
    return {checked_key(key): value for key, value in pairs}


def without_stand_ins(value: Any, known: dict[int, Any]) -> Any:
    """The content of a pickle with arrays in place of their stand-ins.

    Args:
        value: what the unpickler made.
        known: the dicts that were replaced so far, by the original's id. A dict can contain itself.
    """
    if isinstance(value, ArrayStandIn):
        return value.array
    if not isinstance(value, dict):
        return value
    if id(value) not in known:
        known[id(value)] = plain = {}
        plain.update({key: without_stand_ins(each, known) for key, each in value.items()})
    return known[id(value)]


# from the names in a pickle to what stands for them
ADMITTED: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "_codecs.encode": _encode,
    "numpy.ndarray": lambda *_: ArrayStandIn(),
    "numpy.dtype": DtypeStandIn,
    "numpy.core.multiarray._reconstruct": lambda *_: ArrayStandIn(),
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
}
