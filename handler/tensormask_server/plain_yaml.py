"""Parses YAML of plain values. Python's objects and calls, which a file can name in tags, are refused by name."""

import re
from typing import Any

import yaml

MAX_EXPANDED = 1 << 20  # characters and nodes, counting those of an alias at each of its places
_PYTHON = "tag:yaml.org,2002:python/"
# Python's own types that are plain values; the rest names objects and calls
_PLAIN_TAGS = {
    **dict.fromkeys(("tuple", "list"), "tag:yaml.org,2002:seq"),
    "dict": "tag:yaml.org,2002:map",
    **dict.fromkeys(("str", "unicode"), "tag:yaml.org,2002:str"),
    **dict.fromkeys(("int", "long"), "tag:yaml.org,2002:int"),
    "float": "tag:yaml.org,2002:float",
    "bool": "tag:yaml.org,2002:bool",
    "none": "tag:yaml.org,2002:null",
}
# the names of anchors that yaml.dump makes up, before one of its tuples
_DUMPED_TUPLE = re.compile(r"&id\d{3,} !!python/tuple")
_DUMPED = (
    "is what yaml.dump(cfg) writes, with Python's objects in it ({tag}); write the configuration with cfg.dump(): "
    'open(PATH, "w").write(cfg.dump())'
)


class PythonInYamlError(ValueError):
    """The text holds Python's objects or calls. The message is what comes behind "PATH "."""


def parse_plain_yaml(text: str) -> Any:
    """The value that a YAML text stands for: dicts, lists, strings, numbers, dates. A Python tuple is read as a list.

    Raises:
        PythonInYamlError: the text names other objects of Python, or calls.
        yaml.YAMLError, ValueError, RecursionError: it isn't YAML, or stands for too much.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded(node, {}) > MAX_EXPANDED:
            raise yaml.YAMLError(f"its aliases stand for more than {MAX_EXPANDED} characters")
        _make_plain(node, set())
        if _DUMPED_TUPLE.search(text):
            raise PythonInYamlError(_DUMPED.format(tag="!!python/tuple"))
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _make_plain(node: yaml.Node, done: set[yaml.Node]) -> None:
    """Gives the nodes of Python's plain types YAML's own tags."""
    if node in done:
        return
    done.add(node)
    if node.tag.startswith(_PYTHON):
        python_type = node.tag.removeprefix(_PYTHON)
        if python_type not in _PLAIN_TAGS:
            raise PythonInYamlError(_refusal(python_type))
        node.tag = _PLAIN_TAGS[python_type]
    for part in _parts(node):
        _make_plain(part, done)


def _refusal(python_type: str) -> str:
    tag = f"!!python/{python_type}"
    if python_type.endswith((".CfgNode", ".Namespace")):
        return _DUMPED.format(tag=tag)
    return (
        f"holds Python code ({tag}), which reading would run; expected the value itself in its place, as cfg.dump() "
        "writes it"
    )


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _expanded(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """The number of characters and nodes under a node. Those of an alias count at each of its places.

    In memory an alias is only a reference. But `<<` merges what it stands for, an error message prints it, and a
    child's mapping is merged over it.
    """
    if node not in known:
        known[node] = MAX_EXPANDED  # until it is counted: a node that contains itself has no end
        characters = len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        known[node] = 1 + characters + sum(_expanded(part, known) for part in _parts(node))
    return known[node]
