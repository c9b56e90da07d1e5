"""Reads pickles of numpy arrays and plain containers without calling anything that the file names.

Python's unpickler calls whatever a file names, so a stranger's file of weights could do anything. Here the few names
that arrays need stand for functions of `array_stand_ins`, which check their arguments. Every other name is refused.
"""

import pickle
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from tensormask_server.model_files.array_stand_ins import (
    ADMITTED,
    ArrayStandIn,
    DtypeStandIn,
    RefusedPickle,
    checked_key,
    without_stand_ins,
)
from tensormask_server.model_files.measured_bytes import MeasuredBytes
from tensormask_server.printable import printable

# the most bytes of arrays, and of what they are made from, as a multiple of the file's bytes
EXPANSION = 4


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
        self._admitted = {**ADMITTED, **admitted}
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
            return without_stand_ins(super().load(), {})
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
        if isinstance(target, ArrayStandIn | DtypeStandIn):
            target.set_state(state)
            self._count(target)
        elif not isinstance(target, dict):  # attributes of an OrderedDict, such as a state_dict's, are ignored
            raise RefusedPickle(f"it sets the state of a {type(target).__name__}; only arrays and dtypes may have one")

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({checked_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

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
            target[checked_key(key)] = value

    def _refuse(self) -> None:
        raise RefusedPickle("it asks for an object or a set; only numpy arrays and plain containers are admitted")

    def _count(self, result: Any) -> None:
        """Counts bytes of arrays, so that a pickle can't multiply a few bytes into very many."""
        array = result.array if isinstance(result, ArrayStandIn) else result
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
