"""Reads detections from a response in the format npz. A hostile server can't make it take much memory."""

import io
import math
import zipfile

import numpy as np
from tensormask_server import Detections
from tensormask_server.client import WrongServer
from tensormask_server.instances import MAX_MASK_PIXELS

MAX_BYTES = MAX_MASK_PIXELS + (1 << 20)  # of all arrays together, unpacked
DIRECTORY = 4096  # bytes of a zip file's list of its files; four arrays take less than 300
END = 22  # bytes at the end of a zip file, which say where the list is
ZIP64 = b"PK\x06\x07"  # before these bytes, in a zip file that describes the list a second time

# from an array's name to NumPy's kinds of its dtype, and the number of its dimensions
ARRAYS = {"pred_boxes": ("f", 2), "scores": ("f", 1), "pred_classes": ("iu", 1), "pred_masks": ("b", 3)}


def read_detections(npz: bytes) -> Detections:
    """Reads the detections.

    Args:
        npz: the body of a response in this format.

    Raises:
        WrongServer: it isn't a response of this server, or its arrays are larger than MAX_BYTES. No memory was taken
            for them.
    """
    try:
        if npz[-END:-18] != b"PK\x05\x06" or int.from_bytes(npz[-10:-6], "little") > DIRECTORY or ZIP64 in npz[-64:]:
            raise ValueError("not a zip file of a few arrays")
        with zipfile.ZipFile(io.BytesIO(npz)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > MAX_BYTES:
                raise ValueError(f"{unpacked} bytes of arrays; expected at most {MAX_BYTES}")
            names = [name for name in ARRAYS if name != "pred_masks" or "pred_masks.npy" in archive.namelist()]
            arrays = {name: _array(archive, name) for name in names}
        boxes, scores, classes = (arrays[name] for name in ("pred_boxes", "scores", "pred_classes"))
        masks = arrays.get("pred_masks")
        if boxes.shape != (len(scores), 4) or {len(array) for array in arrays.values()} != {len(scores)}:
            raise ValueError("arrays of different lengths")
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all() and (classes >= 0).all()):
            raise ValueError("numbers that aren't finite, or negative classes")
        return Detections.of_masks(boxes, scores, classes, masks)
    except Exception as error:  # NumPy reads headers with Python's parser, which can raise many exceptions
        raise WrongServer(f"a response with something else than detections, {npz[:60]!r}: {error}") from error


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    dtype_kinds, dimensions = ARRAYS[name]
    with archive.open(f"{name}.npy") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name} isn't of npy's version 1.0")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.kind not in dtype_kinds or len(shape) != dimensions or is_fortran or min(shape) < 0:
            raise ValueError(f"{name} is {dtype} {shape}")
        size = math.prod(shape) * dtype.itemsize
        if size > archive.getinfo(f"{name}.npy").file_size:  # before memory is taken for it
            raise ValueError(f"{name} has less than the {size} bytes that its shape says")
        return np.frombuffer(file.read(size), dtype).reshape(shape)
