"""Finds a network's named arrays in what a file holds: nested, under prefixes, beside other things."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from tensormask_server.printable import printable, quoted

# where trainings put the network; those of averaged weights come last
NESTED_UNDER = (
    *("model", "state_dict", "model_state_dict", "model_state", "net", "network", "module"),
    *("model_ema", "ema", "ema_model", "ema_state", "ema_state_dict", "state_dict_ema"),
)
DEEPEST = 4  # dicts in one another
# entries of older detectron2 files, and of trainings, that inference doesn't need
IGNORED = re.compile(r"^(pixel_mean|pixel_std|anchor_generator\..*|(.*\.)?num_batches_tracked|n_averaged)$")
# the first part of names without a prefix: of detectron2's networks, and of a ResNet's
_NETWORK_ROOTS = frozenset({"backbone", "head"})
_ROOTS = _NETWORK_ROOTS | {"bottom_up", "stem", "res2", "conv1", "layer1", "roi_heads", "proposal_generator"}
# what torch.compile and its parallel wrappers put into names, anywhere
_WRAPPERS = re.compile(r"(?<=\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


class Entries(NamedTuple):
    """Named values of a file, as the network names them."""

    values: dict[Any, Any]
    notes: tuple[str, ...]  # what was changed or left out, as sentences for people


class EntriesError(ValueError):
    """A file's content that isn't one network. The message is what comes behind "PATH "."""


def find_entries(content: Any) -> Entries:
    """The entries of the one network that a file holds, without prefixes and without those that inference ignores.

    Args:
        content: as a reader returns it.

    Raises:
        EntriesError: there are no named arrays, or those of several networks.
    """
    if not isinstance(content, dict):
        raise EntriesError(f'holds a {type(content).__name__}, expected a dict such as {{"model": …}}')
    values, notes = _unnested(content)
    renamed, more_notes = _without_prefix(values)
    return Entries(renamed, (*notes, *more_notes))


def is_ignored(name: Any) -> bool:
    """Whether inference doesn't need an entry of this name."""
    return isinstance(name, str) and IGNORED.match(name) is not None


def _unnested(content: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], list[str]]:
    where: list[str] = []
    others: list[str] = []
    while len(where) < DEEPEST:
        places = [key for key in NESTED_UNDER if isinstance(content.get(key), dict) and content[key]]
        if not places:
            break
        content = content[places[0]]
        where.append(places[0])
        others += places[1:]
    if not where and not any(_is_array(value) for value in content.values()):
        found = f"it holds {', '.join(quoted(key, 40) for key in list(content)[:5])}" if content else "it is empty"
        raise EntriesError(
            f'has no "model" with named arrays in it ({found}); expected them under one of {", ".join(NESTED_UNDER)}'
        )
    notes = []
    if where not in ([], ["model"]):
        notes.append(f"the weights are those under {' / '.join(where)}")
    if others:
        notes.append(f"{', '.join(others)} in the same file isn't read")
    return content, notes


def _without_prefix(values: Mapping[Any, Any]) -> tuple[dict[Any, Any], list[str]]:
    if not all(isinstance(name, str) for name in values):  # whoever makes tensors of the values names the culprit
        return {name: value for name, value in values.items() if not is_ignored(name)}, []
    notes = []
    names = {name: _WRAPPERS.sub("", name) for name in values}
    if any(name != renamed for name, renamed in names.items()):
        notes.append("_orig_mod. and the like were taken out of the names")
    prefix = _shared_prefix([name for name in names.values() if not is_ignored(name)])
    if prefix:
        notes.append(f"the prefix {printable(prefix)} was taken off all names")
    renamed = {name: names[name].removeprefix(prefix) for name in values}
    wanted = {renamed[name]: value for name, value in values.items() if not is_ignored(renamed[name])}
    if len(wanted) != sum(not is_ignored(name) for name in renamed.values()):
        raise EntriesError("has several entries of one name, after what torch's wrappers add is taken off")
    return wanted, notes


def _shared_prefix(names: Sequence[str]) -> str:
    """What all names begin with before the first part that a network's own names begin with, such as "module."."""
    parts = [name.split(".") for name in names]
    depth = 0
    while parts and all(len(each) > depth + 1 and each[depth] == parts[0][depth] for each in parts):
        if parts[0][depth] in _ROOTS:
            break
        depth += 1
    tops = {each[depth] for each in parts}
    if depth and tops & _ROOTS:
        return ".".join(parts[0][:depth]) + "."
    if not tops & _ROOTS:
        below = {each[depth] for each in parts if len(each) > depth + 1 and each[depth + 1] in _NETWORK_ROOTS}
        if len(below) > 1:
            found = " and ".join(printable(f"{each}.", 60) for each in sorted(below)[:5])
            raise EntriesError(
                f"holds {len(below)} networks, whose names begin with {found}; save the entries of one of them"
            )
    return ""


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | Tensor)
