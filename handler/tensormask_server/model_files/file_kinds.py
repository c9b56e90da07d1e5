"""What a file holds, told by its content and not by its name: weights, or something that people take for weights."""

import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterable
from enum import Enum
from io import BytesIO

HEAD = 4096  # bytes of a file that are looked at
ZIP = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # with whose pickle torch's format before the zip begins
LEGACY_TORCH = pickle.dumps(LEGACY_MAGIC, protocol=2)
# the first bytes of files that aren't weights; the first that matches counts
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "compressed by gzip; unpack it with gunzip"),
    (b"BZh", "compressed by bzip2; unpack it with bunzip2"),
    (b"\xfd7zXZ\x00", "compressed by xz; unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it with unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"\x89HDF\r\n", "an HDF5 file, as Keras writes it; expected weights of PyTorch or detectron2"),
    (b"\x93NUMPY", "a single NumPy array (.npy); expected named weights"),
    (b"GGUF", "a GGUF file of a language model; expected weights of TensorMask"),
    (b"PK\x05\x06", "an empty zip archive; expected weights"),
    (b"\x89PNG", "a PNG image; expected weights"),
    (b"\xff\xd8\xff", "a JPEG image; expected weights"),
    (b"%PDF", "a PDF document; expected weights"),
)
# the beginning of texts that aren't weights, in lower case and without spaces before them
_TEXTS: tuple[tuple[str, str], ...] = (
    (
        r"version https://git-lfs",
        "a Git LFS pointer and not the file that it stands for; fetch that with `git lfs pull`",
    ),
    (
        r"<!doctype html|<html|<head|<body|<script|<!--",
        "an HTML page, as a web server sends for a link that has expired or needs a login; download the file again",
    ),
    (r"<\?xml|<error|<[a-z]", "an XML page, as a file store sends in place of a file; download the file again"),
    (r"(https?|ftp|s3|gs)://|\[internetshortcut\]", "a text with a URL; download the file that the URL names"),
    (r"[{\[]", "JSON; expected weights"),
)
_OPCODES = frozenset(ord(each.code) for each in pickletools.opcodes)
_PROTOCOL_0 = re.compile(rb"\([dl][p.\n]|[}\]][q(.]|c[a-z_.]+\n")
_YAML_SECTION = re.compile(rb"^(_BASE_|MODEL|INPUT|SOLVER|DATASETS|VERSION) *:", re.MULTILINE)


class WeightsKind(Enum):
    """How weights are written. The value is what error messages call such a file."""

    PICKLE = "a pickle of arrays"
    TORCH = "a torch file"
    SAFETENSORS = "a safetensors file"


def weights_kind(content: bytes) -> WeightsKind | None:
    """How a file of weights is written. A file that is cut short is told by its beginning.

    Args:
        content: at least the first `HEAD` bytes of the file, or all of it.

    Returns:
        None if the file isn't weights; `description` says then what it is.
    """
    if content.startswith((ZIP, LEGACY_TORCH)):
        return WeightsKind.TORCH
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") < 1 << 40:
        return WeightsKind.SAFETENSORS
    if content[:1] == b"\x80":
        return WeightsKind.PICKLE
    return WeightsKind.PICKLE if known_description(content) is None and _may_be_old_pickle(content) else None


def description(content: bytes) -> str:
    """What a file is that isn't weights, and what to do: the words behind "PATH is ".

    Args:
        content: at least the first `HEAD` bytes of the file, or all of it.
    """
    known = known_description(content)
    return known or f"not weights: it begins with {content[:16]!r}; expected a pickle, a torch file or safetensors"


def known_description(content: bytes) -> str | None:
    """As `description`, but None for a file of an unknown kind."""
    if not content:
        return "empty: it has 0 bytes; expected weights; download or copy it again"
    head = content[:HEAD]
    for magic, words in _MAGIC:
        if head.startswith(magic):
            return words
    if content[257:262] == b"ustar":
        return "a tar archive; unpack it"
    text = head.removeprefix(b"\xef\xbb\xbf").decode("latin1").lstrip().lower()
    for pattern, words in _TEXTS:
        if re.match(pattern, text):
            return words
    if is_configuration(head):
        return "a configuration (YAML); expected weights. Are -cp and -tp swapped?"
    if is_python(head):
        return "Python source; expected weights"
    if not text:
        return "blank; expected weights; download or copy it again"
    if not head.strip(b"\x00"):
        return "not weights: it begins with zeros alone; download or copy it again"
    return None


def _may_be_old_pickle(content: bytes) -> bool:
    """Whether a file can be a pickle of protocol 0 or 1, which has no mark at its beginning."""
    is_text = re.fullmatch(rb"[\t\n\r -~]*", content[:HEAD]) is not None
    return content[0] in _OPCODES and (not is_text or content.endswith(b".") or _PROTOCOL_0.match(content) is not None)


def is_configuration(head: bytes) -> bool:
    """Whether a file's beginning is that of a detectron2 configuration."""
    return _YAML_SECTION.search(head) is not None


def is_python(head: bytes) -> bool:
    """Whether a file's beginning is Python source, such as a LazyConfig."""
    return re.search(rb"^(from [\w.]+ import |import [\w.]+|[\w.]+ = [A-Za-z]+\()", head, re.MULTILINE) is not None


def zip_description(content: bytes) -> str | None:
    """What a zip archive is that isn't a file of `torch.save`: the words behind "PATH is ". None if it is one."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, RuntimeError):
        return None  # the reader says what is broken
    if _any(names, r"(.*/)?MAR-INF/MANIFEST\.json"):
        return "a TorchServe archive (.mar); give it to --archive"
    if _any(names, r"[^/]+/(constants\.pkl|code/.*)"):
        return (
            "TorchScript, a network with its code (torch.jit.save); save the weights alone: "
            'torch.save({"model": network.state_dict()}, PATH)'
        )
    if _any(names, r"[^/]+/data\.pkl"):
        return None
    if names and all(name.endswith(".npy") for name in names):
        return 'an archive of NumPy arrays (.npz); write them as a pickle: pickle.dump({"model": dict(arrays)}, file)'
    if _any(names, r".*\.pt2|.*serialized_exported_program\.json|(.*/)?models/.*\.json"):
        return "a network that torch.export wrote; save the weights alone, network.state_dict()"
    return f"a zip archive of {len(names)} files that torch.save didn't write; unpack it if the weights are in it"


def _any(names: Iterable[str], pattern: str) -> bool:
    return any(re.fullmatch(pattern, name) for name in names)
