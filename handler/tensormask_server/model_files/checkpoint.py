"""Weight files to named tensors, without executing anything in a file (docs/NETWORK.md, section 2)."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from tensormask_server.model_files.array_pickle import RefusedPickle, unpickle_arrays
from tensormask_server.model_files.torch_file import DTYPES, read_torch_file
from tensormask_server.printable import one_line, printable, quoted
from tensormask_server.published_names import digits_in_name
from tensormask_server.regular_files import MOST_WEIGHTS, read_regular, sha256_of

# entries of older detectron2 files, and of trainings, that inference doesn't need
IGNORED = re.compile(r"^(pixel_mean|pixel_std|anchor_generator\..*|.*\.num_batches_tracked)$")


class CheckpointError(ValueError):
    """Weights that can't be used. The message names the file or the entry, what was found and what is expected."""


def load_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Reads a file of weights. Nothing in the file is executed.

    Args:
        path: a .pkl or .pth file of detectron2, or a .safetensors file with the same entries.

    Returns:
        From each entry's name to its tensor, float32, finite. Entries that inference doesn't need are left out.

    Raises:
        CheckpointError: the file can't be read, holds something else than named arrays, or would run code.

    Source: docs/NETWORK.md, section 2.
    """
    path = Path(path)
    path_text = printable(path)
    readers: dict[str, Callable[[str, bytes], Mapping[str, Any]]] = {
        ".pkl": _read_pkl,
        ".pth": _read_pth,
        ".safetensors": _read_safetensors,
    }
    if path.suffix not in readers:
        found = f"has the ending {quoted(path.suffix)}" if path.exists() else "isn't there"
        raise CheckpointError(f"{path_text} {found}; supported: {', '.join(readers)}")
    try:
        content = read_regular(path, MOST_WEIGHTS)
    except OSError as error:
        raise CheckpointError(f"can't read the weights {path_text}: {error.strerror or error}") from error
    entries = readers[path.suffix](path_text, content)
    wanted = {name: value for name, value in entries.items() if not is_ignored(name)}
    _check_size(path_text, wanted, len(content))
    return {name: _tensor(path_text, name, value) for name, value in wanted.items()}


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
        sha256 = sha256_of(path, MOST_WEIGHTS)
    except OSError as error:
        raise CheckpointError(f"can't read the weights {printable(path)}: {error.strerror}") from error
    if not sha256.startswith(digits):
        raise CheckpointError(
            f"{printable(path)} has the SHA-256 {sha256[:6]}…, and its name says {digits}…: the file is damaged or "
            "not the published one; download it again (or rename it, if the digits mean something else)"
        )


def is_ignored(name: Any) -> bool:
    """Whether inference doesn't need an entry of this name."""
    return isinstance(name, str) and IGNORED.match(name) is not None


# --- reading files ----------------------------------------------------------------------------------------------------


def _read_pkl(path: str, content: bytes) -> Mapping[str, Any]:
    return _model_entries(path, _read(path, content, unpickle_arrays, "a pickle of arrays"))


def _read_pth(path: str, content: bytes) -> Mapping[str, Any]:
    return _model_entries(path, _read(path, content, read_torch_file, "a torch file"))


def _read_safetensors(path: str, content: bytes) -> Mapping[str, Any]:
    try:
        return load(content)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {one_line(error, 300)}") from error


def _read(path: str, content: bytes, reader: Callable[[bytes], Any], expected: str) -> Any:
    try:
        return reader(content)
    except RefusedPickle as error:
        raise CheckpointError(f"{path} is refused: {one_line(error, 500)}") from error
    except Exception as error:  # a broken file can raise anything
        raise CheckpointError(f"{path} is not {expected}: {type(error).__name__}: {one_line(error, 300)}") from error


def _model_entries(path: str, content: Any) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, expected a dict such as {{"model": …}}')
    if "blobs" in content or content.get("matching_heuristics") is True:
        raise CheckpointError(
            f"{path} holds the weights of a backbone alone (for the start of a training); expected a trained TensorMask"
        )
    entries = content.get("model", content)
    if not isinstance(entries, dict) or not entries:
        raise CheckpointError(f'{path} has no "model" with named arrays in it')
    return entries


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
