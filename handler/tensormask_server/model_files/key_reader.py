"""Looks up keys of a detectron2 configuration: dotted keys, Python literals in strings, checked values."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

from tensormask_server.printable import printable, quoted
from tensormask_server.spelling import did_you_mean


class ConfigError(ValueError):
    """A configuration that can't be used. The message names the key, its value and what is supported."""


class KeyReader:
    """Looks up dotted keys in a merged configuration, and checks their values.

    Its methods raise a ConfigError for a value that isn't supported. It names the key, the value and what is supported.
    """

    def __init__(self, tree: Mapping[str, Any]):
        self._tree = tree

    def section(self, key: str) -> Mapping[str, Any]:
        """The mapping under a dotted key. The empty key stands for the whole tree."""
        node = self._tree
        for part in filter(None, key.split(".")):
            node = node.get(part, {})
            if node is None:  # a key with nothing under it
                node = {}
            if not isinstance(node, dict):
                raise ConfigError(f"{printable(key)} is {quoted(node)}; expected a mapping")
        return node

    def get(self, key: str, default: Any) -> Any:
        """The value of a dotted key. A string that is a Python literal is decoded, as detectron2 does it."""
        section, _, name = key.rpartition(".")
        value = self.section(section).get(name, default)
        if not isinstance(value, str):
            return value
        try:
            return ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return value

    def checked(self, key: str, default: Any, expected: str, accepts: Callable[[Any], bool]) -> Any:
        """A value that `accepts` says True to.

        Args:
            expected: the values that are accepted, in words, for the error.
        """
        value = self.get(key, default)
        if not accepts(value):
            section, _, name = key.rpartition(".")
            found = "is" if name in self.section(section) else "is missing, and by default it is"
            raise ConfigError(f"{key} {found} {quoted(value)}; supported: {expected}")
        return value

    def integer(self, key: str, default: int, least: int = 1, most: int = 1 << 16) -> int:
        """A whole number from `least` to `most`."""
        expected = f"a whole number from {least} to {most}"
        return int(self.checked(key, default, expected, lambda v: _is_int(v) and least <= v <= most))

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        expected = f"a number from {low:g} to {high:g}"
        return float(self.checked(key, default, expected, lambda v: is_number(v) and low <= v <= high))

    def boolean(self, key: str, default: bool) -> bool:
        return bool(self.checked(key, default, "True or False", lambda v: isinstance(v, bool)))

    def choice(self, key: str, default: Any, choices: tuple[Any, ...]) -> Any:
        """One of the choices, of the same type as it."""
        expected = " or ".join(repr(choice) for choice in choices)
        return self.checked(key, default, expected, lambda v: any(v == c and type(v) is type(c) for c in choices))

    def numbers(self, key: str, default: tuple[float, ...], expected: str, accepts: Callable[[Any], bool]) -> Any:
        """As many numbers as the default has, each of which `accepts` says True to."""
        value = self.checked(
            key,
            default,
            expected,
            lambda v: is_list(v) and len(v) == len(default) and all(is_number(n) and accepts(n) for n in v),
        )
        return tuple(float(n) for n in value)

    def consecutive(self, key: str, default: tuple[str, ...], names: tuple[str, ...], expected: str) -> tuple[str, ...]:
        """Some of the names that follow each other, in the same order."""
        runs = [names[i:j] for i in range(len(names)) for j in range(i + 1, len(names) + 1)]
        return tuple(self.checked(key, default, expected, lambda v: is_list(v) and tuple(v) in runs))

    def known_keys(self, section: str, names: tuple[str, ...]) -> None:
        """Checks that a section has only keys of these names.

        Raises:
            ConfigError: it has another key. The message gives the nearest name.
        """
        for name in self.section(section):
            if name not in names:
                raise ConfigError(
                    f"{section}.{printable(name)} is not a known key{did_you_mean(name, names)}; "
                    f"supported: {', '.join(names)}"
                )


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e18 < value < 1e18


def is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
