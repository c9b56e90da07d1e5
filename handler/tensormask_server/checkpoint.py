"""Weight files in, named tensors out, without running anything that a file asks for (specification, section 2)."""

import hashlib
import re
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from tensormask_server.array_pickle import RefusedPickle, unpickle_arrays
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.printable import one_line, printable, quoted
from tensormask_server.regular_files import MOST_WEIGHTS, open_regular, read_regular
from tensormask_server.torch_file import DTYPES, read_torch_file

# entries of older detectron2 files that follow from the configuration
IGNORED = re.compile(r"^(pixel_mean|pixel_std|anchor_generator\..*|.*\.num_batches_tracked)$")


class CheckpointError(ValueError):
    """Weights that can't be used. The message names the file or the entry, and what was expected."""


def load_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Reads the named float32 tensors of a .pkl, .pth or .safetensors file.

    Nothing in the file is executed: of a pickle only numpy arrays and plain containers are admitted.

    Raises:
        CheckpointError: the file can't be read, holds something else, or would run code.
    """
    path = Path(path)
    shown = printable(path)
    readers: dict[str, Callable[[str, bytes], Mapping[str, Any]]] = {
        ".pkl": _read_pkl,
        ".pth": _read_pth,
        ".safetensors": _read_safetensors,
    }
    if path.suffix not in readers:
        found = f"has the ending {quoted(path.suffix)}" if path.exists() else "isn't there"
        raise CheckpointError(f"{shown} {found}; supported: {', '.join(readers)}")
    try:
        content = read_regular(path, MOST_WEIGHTS)
    except OSError as error:
        raise CheckpointError(f"can't read the weights {shown}: {error.strerror or error}") from error
    entries = readers[path.suffix](shown, content)
    wanted = {name: value for name, value in entries.items() if not is_ignored(name)}
    _check_size(shown, wanted, len(content))
    return {name: _tensor(shown, name, value) for name, value in wanted.items()}


def check_sha256(path: Path) -> None:
    """Checks a file against six hex digits at the end of its name, as detectron2's published files have them.

    The digits are the start of the file's SHA-256. A name without digits isn't checked.

    Raises:
        CheckpointError: the SHA-256 starts otherwise, or the file can't be read.
    """
    digits = re.search(r"[_-]([0-9a-f]{6})$", path.stem)
    if digits is None or not path.exists():
        return
    try:
        with open_regular(path, MOST_WEIGHTS) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"can't read the weights {printable(path)}: {error.strerror}") from error
    if not sha256.startswith(digits[1]):
        raise CheckpointError(
            f"{printable(path)} has the SHA-256 {sha256[:6]}…, and its name says {digits[1]}…: the file is damaged or "
            "not the published one; download it again (or rename it, if the digits mean something else)"
        )


def load_weights(network: TensorMask, weights: Mapping[str, Tensor]) -> None:
    """Copies the tensors into the network.

    Entries of the mask branch are left out when MASK_ON is False; every other entry must have its place.

    Raises:
        CheckpointError: an entry is missing, unknown, or of another shape.
    """
    check_fit(network, weights)
    network.load_state_dict({name: weights[name] for name in network.state_dict()})


def check_fit(network: TensorMask, weights: Mapping[str, Tensor]) -> None:
    """Whether `load_weights` would succeed. The network may be one on the device "meta", which takes no memory.

    Raises:
        CheckpointError: an entry is missing, unknown, or of another shape.
    """
    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in weights:
            complaint = f"the weights have no entry {name}, expected with shape {_shape(tensor)}"
            raise CheckpointError(f"{complaint}; {_hint(name, None, tensor)}")
        if weights[name].shape != tensor.shape:
            complaint = f"the weights' {name} has shape {_shape(weights[name])}, expected {_shape(tensor)}"
            raise CheckpointError(f"{complaint}; {_hint(name, weights[name], tensor)}")
    unknown = [name for name in weights if name not in expected]
    if not network.config.head.mask_on:
        unknown = [name for name in unknown if not name.startswith("head.mask_")]
    if unknown:
        name = unknown[0]
        complaint = f"the weights' {printable(name)} has shape {_shape(weights[name])}, and no place in the network"
        raise CheckpointError(f"{complaint}; {_hint(name, weights[name], None)}")


def is_ignored(name: Any) -> bool:
    """Whether an entry of this name says nothing that the configuration doesn't."""
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
    """Refuses entries that show the same numbers again and again, since each becomes a tensor of its own.

    Args:
        path: as it is shown.
        size: of the file, bytes.
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


# --- which key of the configuration is to blame -----------------------------------------------------------------------

_KEY_OF_ABSENCE: tuple[tuple[str, str], ...] = (
    (r"backbone\.bottom_up\.", "MODEL.RESNETS.DEPTH"),
    (r"backbone\.fpn_", "MODEL.FPN.IN_FEATURES"),
    (r"head\.mask_subnet\.0\.", "MODEL.MASK_ON"),
    (r"head\..*_subnet\.", "MODEL.TENSOR_MASK.NUM_CONVS"),
    (r"head\.mask_pred_", "MODEL.ANCHOR_GENERATOR.SIZES"),
    (r"head\.mask_fuse\.", "MODEL.TENSOR_MASK.BIPYRAMID_ON"),
)
# the first axis that differs: 0 is the outputs, 1 the inputs, 2 and 3 the kernel
_KEY_OF_AXIS: tuple[tuple[str, str], ...] = (
    (r"backbone\.bottom_up\.stem\..* 0", "MODEL.RESNETS.STEM_OUT_CHANNELS"),
    (r"backbone\.bottom_up\.res.* [23]", "MODEL.RESNETS.DEPTH"),
    (r"backbone\.bottom_up\.res.*conv2\..* 1", "MODEL.RESNETS.NUM_GROUPS"),
    (r"backbone\.bottom_up\.res.*conv[12]\..* 0", "MODEL.RESNETS.WIDTH_PER_GROUP or DEPTH"),
    (r"backbone\.bottom_up\.res", "MODEL.RESNETS.RES2_OUT_CHANNELS or DEPTH"),
    (r"backbone\.(fpn_lateral\d|top_block\.p6)\..* 1", "MODEL.RESNETS.DEPTH or RES2_OUT_CHANNELS"),
    (r"backbone\.(fpn|top_block)", "MODEL.FPN.OUT_CHANNELS"),
    (r"head\..*_subnet\.0\..* 1", "MODEL.FPN.OUT_CHANNELS"),
    (r"head\.cls_score\..* 0", "MODEL.TENSOR_MASK.NUM_CLASSES (or MODEL.ANCHOR_GENERATOR)"),
    (r"head\.bbox_pred\..* 0", "MODEL.ANCHOR_GENERATOR"),
    (r"head\.cls", "MODEL.TENSOR_MASK.CLS_CHANNELS"),
    (r"head\.bbox", "MODEL.TENSOR_MASK.BBOX_CHANNELS"),
    (r"head\.mask", "MODEL.TENSOR_MASK.MASK_CHANNELS"),
)


def _hint(name: str, found: Tensor | None, expected: Tensor | None) -> str:
    if found is None or expected is None:
        difference, rules = name, _KEY_OF_ABSENCE
    else:
        lengths = zip_longest(found.shape, expected.shape)
        axis = next(axis for axis, (length, wanted) in enumerate(lengths) if length != wanted)
        difference, rules = f"{name} {axis}", _KEY_OF_AXIS
    keys = [key for pattern, key in rules if re.match(pattern, difference)]
    return f"most likely {keys[0] if keys else 'MODEL'} in the configuration disagrees with the weights"


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
