"""Requests of the Open Inference Protocol, KServe's version 2: one tensor that holds all images."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from tensormask_server.bad_request import BadRequest, preview
from tensormask_server.option_table import OPTIONS
from tensormask_server.requests.base64_files import file_of_base64, unwrapped
from tensormask_server.requests.binary_tensors import elements, tensor_bytes
from tensormask_server.requests.json_pixels import pixels_of_lists
from tensormask_server.requests.limits import check_number
from tensormask_server.requests.options import ALIASES, is_option, without_aliases
from tensormask_server.requests.reading import Reading
from tensormask_server.requests.undecoded import UndecodedImage
from tensormask_server.responses.protocols import OUTPUT, OpenInference
from tensormask_server.spelling import did_you_mean

KEYS = ("inputs", "parameters", "id", "outputs", "model_name", "model_version")
MOST_PARAMETERS = 100
MOST_SIDES = 8  # of a shape; the product of very many takes long
LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can have one, and UTF-8 can't
MISSPELT_OPTION = 0.8  # of difflib's ratio: a parameter that is nearer to an option isn't another client's own
EXPECTED_INPUTS = (
    'inputs: [{"name": "image", "datatype": "UINT8", "shape": [H, W, 3] or [N, H, W, 3], "data": […]}] or '
    '[{"name": "image", "datatype": "BYTES", "shape": [N], "data": [base64, …]}]'
)


def read_open_inference(
    content: Mapping[str, Any], outer_options: Mapping[str, Any], reading: Reading, binary: bytes | None = None
) -> tuple[list[UndecodedImage], OpenInference]:
    """Reads the images of a JSON object: a UINT8 tensor of pixels, or a BYTES tensor of image files.

    Args:
        content: the JSON object, with the key "inputs".
        outer_options: the options from outside the body. Those among the body's parameters override them, and those
            among the tensor's parameters override both.
        binary: the bytes that follow the JSON, in the binary extension. None: the request doesn't use it.

    Returns:
        The images, at least one, and the protocol of the response. No image file is opened yet.

    Raises:
        BadRequest: the content is wrong.
    """
    for key in content:
        if key not in KEYS:
            hint = did_you_mean(key, KEYS)
            raise BadRequest(f"the body has the unknown key {preview(key)}{hint}", ", ".join(KEYS))
    parameters = _parameters(content, "parameters")
    tensor = _only_input(content["inputs"])
    tensor_parameters = _parameters(tensor, "inputs[0].parameters")
    options = reading.options(
        {**outer_options, **without_aliases(_options(parameters)), **without_aliases(_options(tensor_parameters))}
    )
    _check_id(content)
    is_binary = _requests_binary_output(content, parameters)
    content_of_tensor = None if binary is None else tensor_bytes(tensor, tensor_parameters, binary)
    images = _images(tensor, content_of_tensor, reading)
    several = len(images) > 1
    undecoded_images = [
        UndecodedImage(image, options, name=f"inputs[0].data[{number}]" if several else "")
        for number, image in enumerate(images)
    ]
    return undecoded_images, OpenInference(content.get("id"), is_binary)


def _parameters(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The parameters of the request or of its tensor.

    Args:
        holder: the request or the tensor.
        name: of the parameters, for error messages.
    """
    parameters = holder.get("parameters")
    if parameters is None:  # some clients write null for what they don't use
        return {}
    if not isinstance(parameters, dict):
        raise BadRequest(f"{name} is {preview(parameters)}", "parameters: an object of options")
    if len(parameters) > MOST_PARAMETERS:  # each unknown name is compared with all options
        raise BadRequest(f"{name} has {len(parameters)} keys", f"parameters: at most {MOST_PARAMETERS} keys")
    return parameters


def _options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The options among the parameters. Clients of the protocol have parameters of their own there, such as priority.

    Raises:
        BadRequest: a parameter's name is nearly that of an option.
    """
    for name in parameters:
        if not is_option(name):
            hint = did_you_mean(name, (*OPTIONS, *ALIASES), MISSPELT_OPTION)
            if hint:
                found = f"the parameter {preview(name)} is not a known option{hint}"
                raise BadRequest(found, ", ".join(OPTIONS), "option")
    return {name: value for name, value in parameters.items() if is_option(name)}


def _only_input(inputs: Any) -> dict[str, Any]:
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        found = f"a list of {len(inputs)}" if isinstance(inputs, list) else preview(inputs)
        raise BadRequest(f"inputs is {found}, not a list of one object", EXPECTED_INPUTS)
    tensor: dict[str, Any] = inputs[0]
    return tensor


def _check_id(content: Mapping[str, Any]) -> None:
    id = content.get("id")
    if not isinstance(id, str | None) or (id and LONE_SURROGATE.search(id)):  # the response repeats it in UTF-8
        raise BadRequest(f"id is {preview(id)}", "id: a string of Unicode characters")


def _requests_binary_output(content: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    """Whether the response has its tensor behind the JSON. The request asks for it, or its only output does.

    Raises:
        BadRequest: the request names other outputs.
    """
    outputs = content.get("outputs")
    if outputs is None or outputs == []:
        return parameters.get("binary_data_output") is True
    names = (
        [each.get("name") if isinstance(each, dict) else None for each in outputs] if isinstance(outputs, list) else []
    )
    if names != [OUTPUT]:
        raise BadRequest(
            f"outputs is {preview(outputs)}, with other outputs than the only one",
            f'outputs: [{{"name": "{OUTPUT}"}}], or leave it out',
        )
    own = _parameters(outputs[0], "outputs[0].parameters")
    return own.get("binary_data", parameters.get("binary_data_output")) is True


def _images(tensor: Mapping[str, Any], content: bytes | None, reading: Reading) -> Sequence[bytes | np.ndarray]:
    """The tensor's images: each an image file's bytes, or uint8 (H, W, 3), RGB.

    Args:
        tensor: the input.
        content: the tensor's bytes, if they don't stand in its data.
    """
    data, datatype = tensor.get("data"), tensor.get("datatype")
    if datatype == "BYTES" and (content or (isinstance(data, list) and data)):
        files = _files(data, reading) if content is None else _files_of_elements(content, reading)
        shape = _known_shape(tensor.get("shape"), len(files))
        if shape is not None and not (_is_sides(shape) and math.prod(shape) == len(files)):
            raise BadRequest(f"inputs[0] has {len(files)} texts, and shape {_shape_text(shape)}", EXPECTED_INPUTS)
        return files
    shape = _known_shape(tensor.get("shape"), _count(data) if content is None else len(content))
    if datatype == "UINT8" and _is_shape(shape):
        check_number(1 if len(shape) == 3 else shape[0], reading.limits)
        return _pixel_images(data, shape) if content is None else _binary_images(content, shape)
    found = f"datatype {preview(datatype)} and shape {_shape_text(tensor.get('shape'))}"
    raise BadRequest(f"inputs[0] has {found}", EXPECTED_INPUTS)


def _files(data: Any, reading: Reading) -> list[bytes]:
    """The image files of a BYTES tensor in JSON.

    Args:
        data: a list of texts in base64.
    """
    check_number(len(data), reading.limits)
    return [file_of_base64(each, f"inputs[0].data[{number}]", EXPECTED_INPUTS) for number, each in enumerate(data)]


def _files_of_elements(content: bytes, reading: Reading) -> list[bytes]:
    """The image files of a BYTES tensor in the binary extension: as they are, or in base64."""
    files = []
    for number, element in enumerate(elements(content)):
        check_number(number + 1, reading.limits)
        files.append(unwrapped(element))
    return files


def _binary_images(content: bytes, shape: list[int]) -> list[np.ndarray]:
    """The images of a UINT8 tensor in the binary extension, each uint8 (H, W, 3).

    Args:
        content: the tensor's bytes.
        shape: [H, W, 3] or [N, H, W, 3].
    """
    if len(content) != math.prod(shape):
        raise BadRequest(f"inputs[0] has {len(content)} bytes, and shape {math.prod(shape)}", EXPECTED_INPUTS)
    return list(np.frombuffer(content, np.uint8).reshape(-1, *shape[-3:]))


def _known_shape(shape: Any, count: int) -> Any:
    """The shape with its -1, of which there may be one, replaced by the side that the data has.

    Args:
        shape: as the request has it.
        count: how many values or texts the data has.
    """
    if not isinstance(shape, list) or shape.count(-1) != 1:
        return shape
    others = [side for side in shape if side != -1]
    if not _is_sides(others) or count == 0 or count % math.prod(others):
        return shape
    return [count // math.prod(others) if side == -1 else side for side in shape]


def _count(data: Any) -> int:
    """How many values are in a flat list, or in lists that are nested as the first of them is."""
    count = 1
    while isinstance(data, list):
        count *= len(data)
        data = data[0] if data else None
    return count


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
    is_short = isinstance(value, list) and len(value) <= MOST_SIDES
    return is_short and all(type(side) is int and 0 < side < 1 << 32 for side in value)


def _shape_text(shape: Any) -> str:
    if not isinstance(shape, list):
        return preview(shape)
    return f"[{', '.join(preview(side) for side in shape[:5])}{', …' if len(shape) > 5 else ''}]"
