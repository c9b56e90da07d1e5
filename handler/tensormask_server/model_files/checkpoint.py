"""Weight files to named tensors, without executing anything in a file (docs/NETWORK.md, section 2)."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from tensormask_server.model_files.array_stand_ins import RefusedPickle
from tensormask_server.model_files.entries import EntriesError, find_entries
from tensormask_server.model_files.file_kinds import HEAD, WeightsKind, description, weights_kind, zip_description
from tensormask_server.model_files.measured_bytes import CutShort
from tensormask_server.model_files.torch_file import DTYPES, read_pickle, read_torch_file
from tensormask_server.printable import one_line, printable, quoted
from tensormask_server.published_names import digits_in_name
from tensormask_server.regular_files import MOST_WEIGHTS, open_regular, read_regular, sha256_of

logger = logging.getLogger(__name__)

SAVE_THE_WEIGHTS = 'if the file is yours, save the weights alone: torch.save({"model": network.state_dict()}, PATH)'


class CheckpointError(ValueError):
    """Weights that can't be used. The message names the file or the entry, what was found and what is expected."""


class WeightsFile(NamedTuple):
    """What a file of weights holds."""

    entries: dict[str, Tensor]  # by the names in the file, without a prefix that all of them share; float32, finite
    is_caffe2: bool  # its "blobs", with Caffe2's names of a backbone
    is_for_matching: bool  # matching_heuristics: names without the parts before the backbone's own
    author: str  # "" if it doesn't say


def load_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Reads a file of weights. Nothing in the file is executed.

    Args:
        path: weights as detectron2, torch or safetensors write them. The content tells which, not the name.

    Returns:
        From each entry's name to its tensor, float32, finite. Entries that inference doesn't need are left out, and so
        is a prefix that all names share. A log record reports what was taken off.

    Raises:
        CheckpointError: the file can't be read, holds something else than named arrays, holds a backbone alone, or
            would run code.

    Source: docs/NETWORK.md, section 2.
    """
    file = read_weights(path)
    is_backbone = file.is_caffe2 or (
        file.is_for_matching and not any(name.startswith("head.") for name in file.entries)
    )
    if is_backbone:
        raise CheckpointError(
            f"{printable(path)} holds the weights of a backbone alone; expected a trained TensorMask. A training can "
            "start from this file"
        )
    return file.entries


def read_weights(path: str | Path) -> WeightsFile:
    """Reads a file of weights of any network, or of a backbone alone. Nothing in the file is executed.

    Raises:
        CheckpointError: the file can't be read, holds something else than named arrays, or would run code.
    """
    path = Path(path)
    path_text = printable(path)
    content = _content(path)
    kind = weights_kind(content)
    if kind is None:
        raise CheckpointError(f"{path_text} is {description(content)}")
    loaded = _read(path_text, content, kind)
    is_caffe2 = isinstance(loaded, dict) and isinstance(loaded.get("blobs"), dict)
    try:
        found = find_entries({"model": _caffe2_arrays(loaded["blobs"])} if is_caffe2 else loaded)
    except EntriesError as error:
        raise CheckpointError(f"{path_text} {error}") from error
    _check_size(path_text, found.values, len(content))
    entries = {name: _tensor(path_text, name, value) for name, value in found.values.items()}
    for note in found.notes:
        logger.warning("%s: %s", path_text, note)
    about = loaded if isinstance(loaded, dict) else {}
    is_for_matching = about.get("matching_heuristics") is True
    author = about.get("__author__")
    return WeightsFile(entries, is_caffe2, is_for_matching, author if isinstance(author, str) else "")


def check_sha256(path: Path) -> None:
    """Checks a file against six hex digits at the end of its name, as detectron2's published files have them.

    The digits are the start of the file's SHA-256. A name without digits isn't checked.

    Raises:
        CheckpointError: the SHA-256 starts otherwise, or the file can't be read.
    """
    digits = digits_in_name(path)
    if not digits or not path.exists():
        return
    try:
        with open_regular(path, MOST_WEIGHTS) as file:
            head = file.read(HEAD)
        sha256 = sha256_of(path, MOST_WEIGHTS)
    except OSError as error:
        raise CheckpointError(f"can't read the weights {printable(path)}: {error.strerror}") from error
    if not sha256.startswith(digits):
        if weights_kind(head) is None:
            raise CheckpointError(f"{printable(path)} is {description(head)}")
        raise CheckpointError(
            f"{printable(path)} has the SHA-256 {sha256[:6]}…, and its name says {digits}…: the file is damaged or "
            "not the published one; download it again (or rename it, if the digits mean something else)"
        )


# --- reading files ----------------------------------------------------------------------------------------------------


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, MOST_WEIGHTS)
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        hint = "; download the file that this URL names" if re.match(r"[a-z]\w+:/", str(path)) else ""
        raise CheckpointError(f"can't read the weights {printable(path)}: {reason}{hint}") from error


def _read(path: str, content: bytes, kind: WeightsKind) -> Any:
    readers: dict[WeightsKind, Callable[[bytes], Any]] = {
        WeightsKind.PICKLE: read_pickle,
        WeightsKind.TORCH: read_torch_file,
        WeightsKind.SAFETENSORS: _read_safetensors,
    }
    other = zip_description(content) if kind is WeightsKind.TORCH else None
    if other is not None:
        raise CheckpointError(f"{path} is {other}")
    try:
        return readers[kind](content)
    except RefusedPickle as error:
        raise CheckpointError(f"{path} is refused: {one_line(error, 500)}; {SAVE_THE_WEIGHTS}") from error
    except CutShort as error:
        raise CheckpointError(
            f"{path} is cut short: it has {len(content)} bytes, expected at least {error.least} of {kind.value}; "
            "download or copy it again"
        ) from error
    except Exception as error:  # a broken file can raise anything
        raise CheckpointError(f"{path} is not {kind.value}: {type(error).__name__}: {one_line(error, 300)}") from error


def _read_safetensors(content: bytes) -> Mapping[str, Any]:
    try:
        return load(content)
    except SafetensorError:
        length = int.from_bytes(content[:8], "little")
        if 8 + length > len(content):
            raise CutShort(8 + length) from None
        least = max((each["data_offsets"][1] for each in _described_tensors(content[8 : 8 + length])), default=0)
        if 8 + length + least > len(content):
            raise CutShort(8 + length + least) from None
        raise


def _described_tensors(header: bytes) -> list[dict[str, Any]]:
    return [each for name, each in json.loads(header).items() if name != "__metadata__"]


def _caffe2_arrays(blobs: Mapping[Any, Any]) -> dict[Any, Any]:
    """The network's blobs, without the solver's: its momenta, its learning rate and its count of iterations."""
    return {
        name: value
        for name, value in blobs.items()
        if not (isinstance(name, str) and re.fullmatch(r".*_momentum|lr|model_iter", name))
    }


def _check_size(path: str, entries: Mapping[Any, Any], size: int) -> None:
    """Refuses entries that share their numbers, since each becomes a tensor of its own and takes memory for it.

    Args:
        path: as error messages name it.
        size: of the file, bytes.

    Raises:
        CheckpointError: the entries have more bytes together than the file.
    """
    bytes_left = size
    for name, value in entries.items():
        bytes_left -= value.nbytes if isinstance(value, np.ndarray | Tensor) else 0
        if bytes_left < 0:
            raise CheckpointError(f"{path}: with entry {printable(name)} the arrays have more bytes than the file has")


def _tensor(path: str, name: Any, value: Any) -> Tensor:
    if not isinstance(name, str):
        raise CheckpointError(f"{path}: an entry's name is a {type(name).__name__}, expected a string")
    if not isinstance(value, np.ndarray | Tensor):
        raise CheckpointError(
            f"{path}: entry {quoted(name)} is a {type(value).__name__}, expected an array with a name"
        )
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(value.astype(np.float32))
    if tensor.dtype not in DTYPES.values():
        raise CheckpointError(
            f"{path}: entry {printable(name)} is of type {tensor.dtype}; only plain numbers are admitted"
        )
    tensor = tensor.to(torch.float32)
    if not tensor.isfinite().all():
        raise CheckpointError(f"{path}: entry {printable(name)} holds values that are infinite or not a number")
    return tensor
