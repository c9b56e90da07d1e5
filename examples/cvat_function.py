"""CVAT's auto-annotation by a server: masks or polygons for the images of a task.

cvat-cli --server-host CVAT task auto-annotate TASK --function-file examples/cvat_function.py \\
    -p url=str:http://127.0.0.1:8080/demo/predict -p labels=str:cat,dog --allow-unmatched-labels
"""

import json
from collections.abc import Sequence
from pathlib import Path

import cvat_sdk.auto_annotation as cvataa
import cvat_sdk.models as models
import numpy as np
from cvat_sdk.masks import encode_mask
from PIL import Image
from tensormask_server.client import Client, Options, Refused
from tensormask_server.tokens import TokenFile

MASK, POLYGON = "mask", "polygon"
TRIED = np.zeros((32, 32, 3), np.uint8)  # an image on which nothing is, to ask for the classes


def create(url: str, labels: str, shapes: str = MASK, token_file: str = "", threshold: float = 0.5) -> "Function":
    """Makes the function. cvat-cli calls this with the values of its -p.

    Args:
        url: of the model on the server.
        labels: names separated by commas, as the task and the network both have them.
        shapes: "mask" or "polygon".
        token_file: a file with the server's token, if it requires one.
        threshold: of scores, where cvat-cli has no --conf-threshold.

    Raises:
        BadFunctionError: `shapes` is another word, or the network has no class of a label's name.
        ClientError: the server can't be reached.
    """
    if shapes not in (MASK, POLYGON):
        raise cvataa.BadFunctionError(f"shapes is {shapes!r}; expected {MASK} or {POLYGON}")
    names = [name.strip() for name in labels.split(",") if name.strip()]
    if not names:
        raise cvataa.BadFunctionError("labels names no label; expected names separated by commas, such as cat,dog")
    client = Client(url, TokenFile(Path(token_file)) if token_file else None)
    try:
        client.request(TRIED, "coco", classes=names)
    except Refused as error:
        raise cvataa.BadFunctionError(f"the labels don't fit the network at {url}: {error}") from error
    return Function(client, names, shapes, threshold)


class Function:
    """A detection function, as CVAT's SDK describes it."""

    def __init__(self, client: Client, names: Sequence[str], shapes: str, threshold: float):
        self._client = client
        self._shapes = shapes
        self._threshold = threshold
        self._ids = {name: number for number, name in enumerate(names)}
        specs = [cvataa.label_spec(name, number, type=shapes) for name, number in self._ids.items()]
        self.spec = cvataa.DetectionFunctionSpec(labels=specs)

    def detect(self, context: cvataa.DetectionFunctionContext, image: Image.Image) -> list[models.LabeledShapeRequest]:
        """Detects the instances of the labels on an image, as masks or polygons."""
        pixels = np.array(image.convert("RGB"))
        threshold = self._threshold if context.conf_threshold is None else context.conf_threshold
        options: Options = {"score_threshold": threshold, "classes": list(self._ids)}
        if self._shapes == POLYGON or context.conv_mask_to_poly:
            return self._polygons(pixels, options)
        instances = self._client.predict(pixels, **options)
        if instances.masks is None:
            raise cvataa.BadFunctionError("the network has no masks; expected one with MODEL.MASK_ON True")
        return [
            cvataa.mask(self._ids[name], encode_mask(mask))
            for name, mask in zip(instances.names, instances.masks, strict=True)
            if mask.any()
        ]

    def _polygons(self, pixels: np.ndarray, options: Options) -> list[models.LabeledShapeRequest]:
        """A polygon for each piece of an instance; the pieces of one instance are a group."""
        options = {**options, "image_data": "none", "holes": "fill"}
        response = self._client.request(pixels, "polygons", **options)
        return [
            cvataa.polygon(
                self._ids[piece["label"]],
                [float(value) for point in piece["points"] for value in point],
                group=piece["group_id"] or 0,
            )
            for piece in json.loads(response.body)["shapes"]
            if len(piece["points"]) >= 3
        ]
