"""What the page knows about its model: classes, limits, defaults, samples. It stands in the page as JSON."""

import base64
import json
from collections.abc import Sequence
from typing import Any

from tensormask_server.formats import FORMATS
from tensormask_server.network.config import TensorMaskConfig
from tensormask_server.option_values import MOST_DETECTIONS
from tensormask_server.options import HandlerOptions
from tensormask_server.prediction.inputs import unreduced_side
from tensormask_server.sample_images import Sample
from tensormask_server.tile_options import NO_TILES

LOWEST_SCORE = 0.1  # of the instances that the page requests; its slider then hides some of them


def lowest_score(options: HandlerOptions) -> float:
    """The score threshold of the page's requests."""
    return min(LOWEST_SCORE, options.score_threshold)


def description(
    name: str,
    class_names: Sequence[str],
    options: HandlerOptions,
    config: TensorMaskConfig,
    samples: Sequence[Sample] = (),
    answer: bytes | None = None,
) -> dict[str, Any]:
    """Describes a model to its page.

    Args:
        name: the model's. The page sends images to its URL.
        class_names: what the model finds.
        options: the limits and the defaults of requests.
        config: of the network.
        samples: images that the page offers.
        answer: the response to the first sample, in the format coco. None: there is none.

    Returns:
        A JSON object.
    """
    is_reduced = config.input.min_size > 0
    has_masks = config.head.mask_on
    return {
        "model": name,
        "about": options.about,
        "classes": [*class_names],
        "maxPixels": options.limits.max_pixels,
        "largestImage": max(options.limits.largest_image, options.limits.max_pixels),  # H·W of an image in tiles
        "maxSide": options.limits.max_side,
        "threshold": options.score_threshold,
        "lowestScore": lowest_score(options),
        "maxDetections": config.detection.max_detections,  # of a request that doesn't say
        "mostDetections": MOST_DETECTIONS,
        # images with a longer side are reduced; 0: no image is
        "unreducedSide": unreduced_side(config.input) if is_reduced else 0,
        "longestSide": config.input.max_size if is_reduced else 0,
        "tileSize": options.tile_size or NO_TILES,
        "formats": [
            {"name": each.name, "suffix": each.suffix} for each in FORMATS.values() if has_masks or not each.needs_masks
        ],
        "samples": [
            {
                "name": each.name,
                "caption": each.caption,
                "type": each.media_type,
                "content": base64.b64encode(each.content).decode(),
            }
            for each in samples
        ],
        "answer": None if answer is None else json.loads(answer),
    }


def script_safe(data: dict[str, Any]) -> str:
    """JSON for a <script> element: nothing in it ends the element."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
