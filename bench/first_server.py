"""The steps of the first Flask server for this network, written again, to measure what a request cost.

json.loads and numpy in; the reference network; torch.save and gzip's level 9 out. The reference's network can't be
installed from a registry, so its time is the product of two that can be measured: that of its convolutions
(backbone and three towers, float32, channels first) and 1.6, what the whole of it took over them where it was measured.
"""

import gzip
import io
import json
import time
from collections.abc import Callable

import numpy as np
import torch
from tensormask_server import Detections
from tensormask_server.network.tensormask import TensorMask

WHOLE_OVER_CONVOLUTIONS = 1.6


def image_of_json(body: bytes) -> np.ndarray:
    return np.array(json.loads(body)["img_data"], dtype=np.uint8).transpose(1, 2, 0)


def gzipped_masks(detections: Detections) -> bytes:
    packed = io.BytesIO()
    assert detections.masks is not None
    torch.save(
        {"pred_masks": torch.from_numpy(detections.masks), "scores": torch.from_numpy(detections.scores)}, packed
    )
    return gzip.compress(packed.getvalue(), 9)


@torch.inference_mode()
def convolutions(network: TensorMask, image: np.ndarray) -> None:
    """The backbone and the towers on every level, on an image as large as this one, float32, channels first."""
    height, width = (-(-side // network.stride) * network.stride for side in image.shape[:2])
    features = network.features(torch.zeros(1, 3, height, width))
    for feature in features:
        network.head.cls_subnet(feature)
        network.head.bbox_subnet(feature)
        network.head.mask_subnet(feature)


def request_seconds(
    network: TensorMask, body: bytes, detections: Detections, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Measures the time of a request. Pasting the masks is left out, because the reference's network includes it.

    Args:
        network: in float32, its weights channels first.
        body: of the request.
        detections: the network's, on this image.
        clock: gives seconds.
    """
    start = clock()
    image = image_of_json(body)
    before = clock()
    convolutions(network, image)
    after = clock()
    gzipped_masks(detections)
    return clock() - start + (WHOLE_OVER_CONVOLUTIONS - 1) * (after - before)
