"""Requests of the Open Inference Protocol, KServe's version 2: one tensor that holds all images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from tensormask_server.bad_request import BadRequest, preview
from tensormask_server.requests.base64_files import file_of_base64
from tensormask_server.requests.json_pixels import pixels_of_lists
from tensormask_server.requests.limits import check_number
from tensormask_server.requests.options import is_option, without_aliases
from tensormask_server.requests.reading import Reading
from tensormask_server.requests.undecoded import UndecodedImage
from tensormask_server.responses.protocols import OUTPUT, OpenInference
from tensormask_server.spelling import did_you_mean

KEYS = ("inputs", "parameters", "id", "outputs")
EXPECTED_INPUTS = (
    'inputs: [{"name": "image", "datatype": "UINT8", "shape": [H, W, 3] or [N, H, W, 3], "data": […]}] or '
    '[{"name": "image", "datatype": "BYTES", "shape": [N], "data": [base64, …]}]'
)


def read_open_inference(
    content: Mapping[str, Any], outer_options: Mapping[str, Any], reading: Reading
) -> tuple[list[UndecodedImage], OpenInference]:
    """Reads the images of a JSON object: a UINT8 tensor of pixels, or a BYTES tensor of image files in base64.

    Args:
        content: the JSON object, with the key "inputs".
        outer_options: the options from outside the body. Those among the body's parameters override them, and those
            among the tensor's parameters override both.

    Returns:
        The images, at least one, and the protocol of the response. No image file is opened yet.

    Raises:
        BadRequest: the content is wrong.
    """
    for key in content:
        if key not in KEYS:
            hint = did_you_mean(key, KEYS)
            raise BadRequest(f"the body has the unknown key {preview(key)}{hint}", ", ".join(KEYS))
    parameters = content.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadRequest(f"parameters is {preview(parameters)}", "parameters: an object of options")
    tensor = _only_input(content["inputs"])
    options = reading.options(
        {**outer_options, **without_aliases(parameters), **without_aliases(_tensor_options(tensor))}
    )
    _check_id_and_outputs(content)
    images = _images(tensor, reading)
    several = len(images) > 1
    undecoded_images = [
        UndecodedImage(image, options, name=f"inputs[0].data[{number}]" if several else "")
        for number, image in enumerate(images)
    ]
    return undecoded_images, OpenInference(content.get("id"))


def _only_input(inputs: Any) -> dict[str, Any]:
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        found = f"a list of {len(inputs)}" if isinstance(inputs, list) else preview(inputs)
        raise BadRequest(f"inputs is {found}, not a list of one object", EXPECTED_INPUTS)
    tensor: dict[str, Any] = inputs[0]
    return tensor


def _tensor_options(tensor: Mapping[str, Any]) -> dict[str, Any]:
    """The options among a tensor's own parameters. Clients of the protocol have other parameters there, too."""
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadRequest(f"inputs[0].parameters is {preview(parameters)}", "parameters: an object of options")
    return {name: value for name, value in parameters.items() if is_option(name)}


def _check_id_and_outputs(content: Mapping[str, Any]) -> None:
    """Checks two optional keys: the request's id, and the outputs that it requests."""
    if not isinstance(content.get("id", ""), str):
        raise BadRequest(f"id is {preview(content['id'])}", "id: a string")
    outputs = content.get("outputs")
    names = (
        [each.get("name") if isinstance(each, dict) else None for each in outputs] if isinstance(outputs, list) else []
    )
    if outputs is not None and names != [OUTPUT]:
        raise BadRequest(
            f"outputs is {preview(outputs)}, with other outputs than the only one",
            f'outputs: [{{"name": "{OUTPUT}"}}], or leave it out',
        )


def _images(tensor: Mapping[str, Any], reading: Reading) -> Sequence[bytes | np.ndarray]:
    """The tensor's images: each an image file's bytes, or uint8 (H, W, 3), RGB."""
    data, datatype, shape = tensor.get("data"), tensor.get("datatype"), tensor.get("shape")
    if datatype == "BYTES" and isinstance(data, list) and data:
        check_number(len(data), reading.limits)
        if shape is not None and not (_is_sides(shape) and math.prod(shape) == len(data)):
            raise BadRequest(f"inputs[0].data has {len(data)} strings, and shape {_shape_text(shape)}", EXPECTED_INPUTS)
        return [file_of_base64(each, f"inputs[0].data[{number}]", EXPECTED_INPUTS) for number, each in enumerate(data)]
    if datatype == "UINT8" and _is_shape(shape):
        check_number(1 if len(shape) == 3 else shape[0], reading.limits)
        return _pixel_images(data, shape)
    found = f"datatype {preview(datatype)} and shape {_shape_text(shape)}"
    raise BadRequest(f"inputs[0] has {found}", EXPECTED_INPUTS)


def _pixel_images(data: Any, shape: list[int]) -> list[np.ndarray]:
    """The images of a UINT8 tensor, each uint8 (H, W, 3).

    Args:
        data: a flat list, or lists nested as the shape says.
        shape: [H, W, 3] or [N, H, W, 3].
    """
    images = 1 if len(shape) == 3 else shape[0]
    if isinstance(data, list) and data and not isinstance(data[0], list):
        if len(data) != math.prod(shape):
            raise BadRequest(f"inputs[0].data has {len(data)} values, and shape {math.prod(shape)}", EXPECTED_INPUTS)
        if not all(type(value) is int and 0 <= value <= 255 for value in data):
            raise BadRequest("inputs[0].data has values that aren't whole numbers from 0 to 255", EXPECTED_INPUTS)
        return list(np.array(data, np.uint8).reshape(images, *shape[-3:]))
    nested = data if len(shape) == 4 else [data]
    if not isinstance(nested, list) or len(nested) != images:
        found = f"inputs[0].data is {preview(data)} that doesn't have the shape {shape}"
        raise BadRequest(found, EXPECTED_INPUTS)
    names = ["inputs[0].data"] if len(shape) == 3 else [f"inputs[0].data[{number}]" for number in range(images)]
    arrays = [pixels_of_lists(each, name, EXPECTED_INPUTS) for each, name in zip(nested, names, strict=True)]
    if any(list(each.shape) != shape[-3:] for each in arrays):
        raise BadRequest(f"inputs[0].data doesn't have the shape {shape}", EXPECTED_INPUTS)
    return arrays


def _is_shape(value: Any) -> TypeGuard[list[int]]:
    """Whether it is [H, W, 3] or [N, H, W, 3], with sides in the range that tensors have."""
    return _is_sides(value) and len(value) in (3, 4) and value[-1] == 3


def _is_sides(value: Any) -> bool:
    return isinstance(value, list) and all(type(side) is int and 0 < side < 1 << 32 for side in value)


def _shape_text(shape: Any) -> str:
    if not isinstance(shape, list):
        return preview(shape)
    return f"[{', '.join(preview(side) for side in shape[:5])}{', …' if len(shape) > 5 else ''}]"
