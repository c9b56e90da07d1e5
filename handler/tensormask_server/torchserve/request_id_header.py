"""Lets a response have the client's own X-Request-ID.

TorchServe puts an id of its own into this header of each response, over what the worker has put there. No setting
changes that. So the launcher gives Java a copy of the one class that does it, in which the header has another name.
"""

import zipfile
from pathlib import Path

CLASS = "org/pytorch/serve/util/NettyUtils.class"
NAME = b"x-request-id"
OTHER_NAME = b"x-torchserve-request-id"


def classes_without_request_id(jar: Path, folder: Path) -> Path | None:
    """Writes the class in which TorchServe's header is called x-torchserve-request-id.

    Args:
        jar: TorchServe's model-server.jar.
        folder: a private one.

    Returns:
        The folder to put on Java's class path before the jar. None: the class isn't the known one, and responses have
        TorchServe's id.
    """
    try:
        with zipfile.ZipFile(jar) as content:
            original = content.read(CLASS)
    except (OSError, KeyError, zipfile.BadZipFile):
        return None
    if original.count(_constant(NAME)) != 1:
        return None
    classes = folder / "classes"
    path = classes / CLASS
    path.parent.mkdir(parents=True)
    path.write_bytes(original.replace(_constant(NAME), _constant(OTHER_NAME)))
    return classes


def _constant(text: bytes) -> bytes:
    """A string in a class file's table of constants: the tag of UTF-8, its length and its bytes."""
    return b"\x01" + len(text).to_bytes(2, "big") + text
