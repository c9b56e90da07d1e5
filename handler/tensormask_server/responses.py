"""Detections or an error to the bytes of a response: each format of one result."""

import base64
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from contourpy import FillType, contour_generator
from isal import igzip
from PIL import Image

from tensormask_server.bad_request import BadRequest
from tensormask_server.coco_instances import coco_instances
from tensormask_server.detections import Detections
from tensormask_server.drawing import draw_detections
from tensormask_server.image_masks import ImageMasks, MaskCrop
from tensormask_server.requests.json_bodies import OUTPUT
from tensormask_server.tensor_stream import StreamedTensor, write_tensors

# masks are long runs of zeros and ones: higher levels take longer and gain little
COMPRESSION_LEVEL = 1
# what the drawn image is compressed with: twice as fast as Pillow's own 6, a little larger
PNG_LEVEL = 3


@dataclass(frozen=True)
class Model:
    """Whose answers these are."""

    name: str
    class_names: tuple[str, ...]
    weights_sha256: str  # of the archive's weights, hexadecimal


@dataclass(frozen=True)
class Found:
    """One image with what was found on it."""

    image: np.ndarray  # uint8 (H, W, 3), RGB
    detections: Detections
    model: Model


def encode(found: Found, kind: str) -> tuple[bytes, str]:
    """
    Args:
        kind: one of request_options.FORMATS.

    Returns:
        The bytes and their content type.

    Raises:
        BadRequest: the format needs masks, and the network makes none.
    """
    encoder, content_type = ENCODERS[kind]
    return encoder(found), content_type


def gzipped_torch(detections: Detections) -> bytes:
    """What the first server answered, in tensors alone: `torch.load(gzip.open(…), weights_only=True)` opens it. Written
    mask by mask.

    Returns:
        A gzip of torch.save's {"pred_masks": bool (N, H, W), "scores": float32 (N,), "pred_classes": int64 (N,),
        "pred_boxes": float32 (N, 4)}; without "pred_masks" where the network makes none.
    """
    tensors = {name: StreamedTensor.of_array(array) for name, array in _arrays(detections).items()}
    masks = detections.image_masks
    if masks is not None:
        shape = len(masks), masks.height, masks.width
        each = (masks.dense_mask(i) for i in range(len(masks)))
        tensors["pred_masks"] = StreamedTensor(np.dtype(bool), shape, each)
    packed = io.BytesIO()
    with igzip.IGzipFile(fileobj=packed, mode="wb", compresslevel=COMPRESSION_LEVEL, mtime=0) as file:
        write_tensors(file, tensors)
    return packed.getvalue()


def npz(detections: Detections) -> bytes:
    """The same arrays as `numpy.load` opens them, without torch; written mask by mask."""
    packed = io.BytesIO()
    masks = detections.image_masks
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL) as archive:
        for name, array in _arrays(detections).items():
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


def coco(found: Found) -> dict[str, Any]:
    """{"instances": COCO's results, "width", "height", "model", "weights_sha256"}; masks as compressed RLE."""
    model = found.model
    instances = [
        {**each, "bbox": [round(value, 2) for value in each["bbox"]], "score": round(each["score"], 6)}
        for each in coco_instances(found.detections, model.class_names)
    ]
    height, width = found.image.shape[:2]
    about = {"width": width, "height": height, "model": model.name, "weights_sha256": model.weights_sha256}
    return {"instances": instances, **about}


def png(found: Found) -> bytes:
    """The image with masks, boxes, names and scores drawn on it."""
    return _png(Image.fromarray(draw_detections(found.image, found.detections, found.model.class_names)))


def labelmap(found: Found) -> bytes:
    """A PNG of 16 bits: 0 is background, and i the i-th best instance, which hides the worse ones below it."""
    masks = _masks(found.detections)
    labels = np.zeros((masks.height, masks.width), np.uint16)
    for i in range(len(masks), 0, -1):
        crop = masks.crops[i - 1]
        labels[crop.place][crop.pixels] = i
    return _png(Image.fromarray(labels))


def polygons(found: Found) -> dict[str, Any]:
    """LabelMe's JSON, with the image in it. A mask of several pieces is as many shapes of one group_id.

    An outline, in pixels of the image, runs midway between the centres of the outermost pixels and of their
    neighbours: a pixel is of the mask where its centre is inside. Polygons have no holes; a mask's are filled.
    """
    shapes = []
    detections = found.detections
    for group, (crop, number) in enumerate(zip(_masks(detections), detections.classes.tolist(), strict=True), start=1):
        outlines = _outlines(crop)
        for outline in outlines:
            shapes.append(
                {
                    "label": found.model.class_names[number],
                    "points": outline,
                    "group_id": group if len(outlines) > 1 else None,
                    "description": f"score {detections.scores[group - 1]:.3f}",
                    "shape_type": "polygon",
                    "flags": {},
                }
            )
    height, width = found.image.shape[:2]
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": "image.png",
        "imageData": base64.b64encode(_png(Image.fromarray(found.image))).decode(),
        "imageHeight": height,
        "imageWidth": width,
    }


def predictions(founds: list[Found], kinds: list[str]) -> bytes:
    """KServe's v1: {"predictions": […]}, in the formats that are JSON.

    Raises:
        BadRequest: another format is asked for.
    """
    return _json({"predictions": [_tree(found, kind) for found, kind in zip(founds, kinds, strict=True)]})


def inference_outputs(founds: list[Found], kinds: list[str], request_id: str | None) -> bytes:
    """The Open Inference Protocol: one BYTES tensor, a JSON text for each image.

    Args:
        request_id: what the request called itself; the answer does, too.

    Raises:
        BadRequest: another format is asked for.
    """
    texts = [_json(_tree(found, kind)).decode() for found, kind in zip(founds, kinds, strict=True)]
    output = {"name": OUTPUT, "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    named = {"model_name": founds[0].model.name} | ({} if request_id is None else {"id": request_id})
    return _json({**named, "outputs": [output]})


def error_json(error: BadRequest) -> bytes:
    """{"error": what was wrong, "expected": what would be accepted}, UTF-8."""
    return _json({"error": error.error, "expected": error.expected})


def _tree(found: Found, kind: str) -> dict[str, Any]:
    if kind not in TREES:
        raise BadRequest(
            f"format is {kind}, which isn't JSON, and several images are answered in JSON",
            "format: coco or polygons",
            "option",
        )
    return TREES[kind](found)


def _json(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()


def _arrays(detections: Detections) -> dict[str, np.ndarray]:
    return {"scores": detections.scores, "pred_classes": detections.classes, "pred_boxes": detections.boxes}


def _masks(detections: Detections) -> ImageMasks:
    if detections.image_masks is None:
        raise BadRequest("this network finds boxes alone, no masks", "format: coco, png, torch or npz", "option")
    return detections.image_masks


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=PNG_LEVEL)
    return content.getvalue()


def _outlines(crop: MaskCrop) -> list[list[list[float]]]:
    """Of each piece the outer boundary, x y in pixels; a pixel's centre is at a half."""
    inside = np.pad(crop.pixels, 1).astype(np.float64)
    contours = contour_generator(z=inside, fill_type=FillType.OuterOffset)
    pieces: Any = contours.filled(0.5, np.inf)
    # a piece's points are its outer boundary, the last point the first one again, and then its holes
    outers = [points[: offsets[1] - 1] for points, offsets in zip(*pieces, strict=True)]
    return [(outer + np.array([crop.left - 0.5, crop.top - 0.5])).tolist() for outer in outers]


TREES: dict[str, Callable[[Found], dict[str, Any]]] = {"coco": coco, "polygons": polygons}
ENCODERS: dict[str, tuple[Callable[[Found], bytes], str]] = {
    "torch": (lambda found: gzipped_torch(found.detections), "application/gzip"),
    "npz": (lambda found: npz(found.detections), "application/zip"),
    "png": (png, "image/png"),
    "labelmap": (labelmap, "image/png"),
    "coco": (lambda found: _json(coco(found)), "application/json"),
    "polygons": (lambda found: _json(polygons(found)), "application/json"),
}
