"""Encodes detections as arrays in a file of torch or NumPy. Only one mask at a time is in memory."""

import io
import zipfile

import numpy as np
from isal import igzip

from tensormask_server.prediction.detections import Detections
from tensormask_server.responses.tensor_stream import StreamedTensor, write_tensors

# of zlib; masks are long runs of zeros and ones, for which higher levels take longer and gain little
COMPRESSION_LEVEL = 1


def gzipped_torch(detections: Detections) -> bytes:
    """Encodes detections as a gzip of what torch.save writes. `torch.load(gzip.open(…), weights_only=True)` opens it.

    The names and types are those of the first server's responses. The file holds tensors only.

    Returns:
        The bytes of {"pred_masks": bool (N, H, W), "scores": float32 (N,), "pred_classes": int64 (N,),
        "pred_boxes": float32 (N, 4), x0 y0 x1 y1 in pixels of the image}. "pred_masks" is absent if the network makes
        no masks.
    """
    tensors = {name: StreamedTensor.of_array(array) for name, array in _small_arrays(detections).items()}
    masks = detections.image_masks
    if masks is not None:
        shape = len(masks), masks.height, masks.width
        dense_masks = (masks.dense_mask(i) for i in range(len(masks)))
        tensors["pred_masks"] = StreamedTensor(np.dtype(bool), shape, dense_masks)
    packed = io.BytesIO()
    with igzip.IGzipFile(fileobj=packed, mode="wb", compresslevel=COMPRESSION_LEVEL, mtime=0) as file:
        write_tensors(file, tensors)
    return packed.getvalue()


def npz(detections: Detections) -> bytes:
    """Encodes the arrays of `gzipped_torch` as a file that `numpy.load` opens."""
    packed = io.BytesIO()
    masks = detections.image_masks
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL) as archive:
        for name, array in _small_arrays(detections).items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        if masks is not None:
            with archive.open("pred_masks.npy", "w", force_zip64=True) as file:
                shape = len(masks), masks.height, masks.width
                header = {"descr": "|b1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for i in range(len(masks)):
                    file.write(masks.dense_mask(i).data)
    return packed.getvalue()


def _small_arrays(detections: Detections) -> dict[str, np.ndarray]:
    return {"scores": detections.scores, "pred_classes": detections.classes, "pred_boxes": detections.boxes}
