"""The description of a model in JSON: what the gateway's list of models is made of."""

from collections.abc import Mapping
from typing import Any

from tensormask_server.formats import MODEL_DESCRIPTION
from tensormask_server.network.config import TensorMaskConfig
from tensormask_server.options import HandlerOptions
from tensormask_server.requests.headers import header
from tensormask_server.responses.result import Model


def is_for_description(fields: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Whether a request is a GET of the model's description. Its Accept header has the description's own media type.

    Args:
        fields: the request's body, form fields and query parameters.
        headers: the request's headers.
    """
    return header(headers, "Accept").strip().lower() == MODEL_DESCRIPTION and not any(fields.values())


def model_description(model: Model, options: HandlerOptions, config: TensorMaskConfig) -> dict[str, Any]:
    """Describes a model.

    Returns:
        What the schema Model of the OpenAPI document says, as a tree for JSON.
    """
    return {
        "name": model.name,
        "about": options.about,
        "classes": list(model.class_names),
        "has_masks": config.head.mask_on,
        "weights_bytes": model.weights_bytes,
        "weights_sha256": model.weights_sha256,
        "shortest_side": config.input.min_size,
        "longest_side": config.input.max_size if config.input.min_size else 0,
        "max_pixels": max(options.limits.max_pixels, options.limits.largest_image),
        "score_threshold": options.score_threshold,
        "nms_threshold": config.detection.nms_threshold,
    }
