"""Reads detectron2's configurations: YAML files that are merged over their `_BASE_` files."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tensormask_server.model_files.file_kinds import HEAD, is_configuration, is_python, known_description, weights_kind
from tensormask_server.model_files.key_reader import ConfigError
from tensormask_server.plain_yaml import PythonInYamlError, parse_plain_yaml
from tensormask_server.printable import one_line, printable, quoted
from tensormask_server.regular_files import MOST_WEIGHTS, open_regular, read_regular
from tensormask_server.yaml_bases import KEY, MAX_BYTES, base_names

MAX_FILES = 100
CFG_DUMP = "expected a configuration (YAML) with the key MODEL, as cfg.dump() writes it"


def load_merged_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML file and merges it, mapping by mapping, over its `_BASE_` files. The child's keys win.

    Raises:
        ConfigError: a file can't be read, isn't plain YAML, is too large, or is its own base.

    Source: docs/NETWORK.md, section 1.
    """
    return _load_merged(Path(path), (), {}, [MAX_BYTES])


def _load_merged(
    path: Path, children: tuple[Path, ...], known: dict[Path, dict[str, Any]], bytes_left: list[int]
) -> dict[str, Any]:
    """Reads a file, and merges it over its bases.

    Args:
        children: the files whose `_BASE_` led here, resolved.
        known: the files merged so far. A file that is the base of several is read once.
        bytes_left: a list of one number: the most bytes of all files that aren't read yet.
    """
    resolved = _resolved(path)
    if resolved in children:
        circle = " -> ".join(printable(p) for p in (*children[:3], resolved))
        raise ConfigError(f"_BASE_ goes in a circle: {circle}")
    if resolved in known:
        return known[resolved]
    if len(known) + len(children) >= MAX_FILES:
        raise ConfigError(f"{printable(path)} is one _BASE_ too many; supported: {MAX_FILES} files")
    tree = _read_yaml(path, bytes_left)
    merged: dict[str, Any] = {}
    bases = base_names(tree)
    tree.pop(KEY, None)
    if len(bases) > MAX_FILES:
        raise ConfigError(f"_BASE_ in {printable(path)} has {len(bases)} files; supported: {MAX_FILES}")
    for name in bases:
        merged = _merge(merged, _load_merged(_base_path(path, name), (*children, resolved), known, bytes_left))
    known[resolved] = _merge(merged, tree)
    return known[resolved]


def _base_path(child: Path, name: Any) -> Path:
    if isinstance(name, str) and "://" not in name and "\0" not in name:
        with contextlib.suppress(RuntimeError):  # ~ of an unknown user
            return child.parent / Path(name).expanduser()
    raise ConfigError(f"_BASE_ in {printable(child)} is {quoted(name)}; supported: the path of a local file")


def _resolved(path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = error.strerror if isinstance(error, OSError) else "a link to itself"
        raise ConfigError(f"can't read the configuration {printable(path)}: {reason}") from error


def _read_yaml(path: Path, bytes_left: list[int]) -> dict[str, Any]:
    path_text = printable(path)
    content = _content(path, bytes_left)
    try:
        tree = parse_plain_yaml(content.decode("utf-8-sig"))
    except PythonInYamlError as error:
        raise ConfigError(f"{path_text} {one_line(error, 500)}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        _name_other_kind(path_text, content)
        reason = one_line(error, 500) or type(error).__name__
        raise ConfigError(f"{path_text} is not plain YAML: {reason}") from error
    if not isinstance(tree, dict):
        _name_other_kind(path_text, content)
        raise ConfigError(
            f"{path_text} holds {_type_name(tree)}; expected a mapping such as detectron2's configurations"
        )
    if "MODEL" not in tree and KEY not in tree and b"_target_:" in content:
        raise ConfigError(f"{path_text} is a LazyConfig, written as YAML; {CFG_DUMP}")
    return tree


def _content(path: Path, bytes_left: list[int]) -> bytes:
    try:
        content = read_regular(path, MAX_BYTES)
    except OSError as error:
        with contextlib.suppress(OSError), open_regular(path, MOST_WEIGHTS) as file:
            _name_other_kind(printable(path), file.read(HEAD))
        raise ConfigError(f"can't read the configuration {printable(path)}: {error.strerror}") from error
    bytes_left[0] -= len(content)
    if bytes_left[0] < 0:
        raise ConfigError(f"{printable(path)} and the files of its _BASE_ have more than {MAX_BYTES} bytes together")
    return content


def _name_other_kind(path: str, content: bytes) -> None:
    """Says what a file is that people take for a configuration.

    Args:
        path: as error messages name it.
        content: of a file that isn't a configuration, or the beginning of it.

    Raises:
        ConfigError: it is a file of a known kind.
    """
    if is_configuration(content):
        return
    if path.endswith(".py") or is_python(content):
        raise ConfigError(f"{path} is Python source, such as a LazyConfig; {CFG_DUMP}")
    kind = weights_kind(content) if content and not content.isascii() else None
    if kind is not None:
        raise ConfigError(f"{path} is {kind.value}; expected a configuration (YAML). Are -cp and -tp swapped?")
    words = known_description(content)
    if words is not None and not words.startswith("JSON"):  # which is YAML
        what, _, to_do = words.replace("; expected weights", "").partition(";")
        raise ConfigError(f"{path} is {what}; expected a configuration (YAML){';' if to_do else ''}{to_do}")


def _merge(base: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in child.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _type_name(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
