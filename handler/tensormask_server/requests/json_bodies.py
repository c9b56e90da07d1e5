"""Requests in JSON: their images, not decoded yet, and the options of each image.

The key that holds the images decides the protocol: `instances`, `inputs`, or `image` and `img_data`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tensormask_server.bad_request import BadRequest, errors_name, preview
from tensormask_server.option_table import OPTIONS
from tensormask_server.requests.base64_files import file_of_base64
from tensormask_server.requests.json_pixels import channels_last, pixels_of_lists
from tensormask_server.requests.limits import check_number
from tensormask_server.requests.open_inference import EXPECTED_INPUTS, read_open_inference
from tensormask_server.requests.options import ALIASES, is_option, without_aliases
from tensormask_server.requests.reading import Reading
from tensormask_server.requests.undecoded import UndecodedImage
from tensormask_server.responses.protocols import InferenceProtocol, KServeV1, OneImage
from tensormask_server.spelling import did_you_mean

EXPECTED_JSON = (
    '{"image": base64}, {"instances": […]} or {"img_data": [[[…]]]} of shape (3, H, W), RGB, whole numbers 0…255'
)
IMAGE_KEYS = ("img_data", "image", "data", "channel_order")  # data is another name of image, as in KServe's examples
EXPECTED_KEYS = (
    'image or img_data (for several images {"instances": [{"image": …}, …]}), and beside it '
    f"{', '.join(OPTIONS)} (channel_order for img_data)"
)


def read_json(
    content: Mapping[str, Any], outer_options: Mapping[str, Any], reading: Reading, binary: bytes | None = None
) -> tuple[list[UndecodedImage], InferenceProtocol]:
    """Reads the images and options of a JSON object.

    Args:
        content: the JSON object. If it has `img_data`, that is a uint8 array.
        outer_options: the options from outside the body. Those in the body override them.
        binary: the bytes that follow the JSON, in the binary extension of the Open Inference Protocol. None: the
            request doesn't use the extension.

    Returns:
        The images, at least one, and the protocol of the response. No image file is opened yet.

    Raises:
        BadRequest: the content is wrong.
    """
    if "inputs" in content:
        return read_open_inference(content, outer_options, reading, binary)
    if binary is not None:
        raise BadRequest("the body has the header Inference-Header-Content-Length, and no inputs", EXPECTED_INPUTS)
    if "instances" in content:
        return _instances(content, outer_options, reading), KServeV1()
    default_format = "torch" if "img_data" in content else "coco"  # torch is what the first server returned
    return [_image(content, outer_options, reading, default_format)], OneImage()


def _image(
    content: Mapping[str, Any],
    outer_options: Mapping[str, Any],
    reading: Reading,
    default_format: str = "coco",
    name: str = "",
) -> UndecodedImage:
    """Reads an object with the image in "image", "data" or "img_data", and options beside it."""
    inner_options = {key: value for key, value in content.items() if key not in IMAGE_KEYS}
    for key in inner_options:
        if not is_option(key):
            hint = did_you_mean(key, (*IMAGE_KEYS, *OPTIONS, *ALIASES))
            raise BadRequest(f"the body has the unknown key {preview(key)}{hint}", EXPECTED_KEYS)
    present = [key for key in ("img_data", "image", "data") if key in content]
    if len(present) != 1:
        found = f"both {' and '.join(present)}" if present else f"no img_data and no image{_pixels_hint(content)}"
        raise BadRequest(f"the body has {found}", EXPECTED_JSON)
    options = reading.options({**outer_options, **without_aliases(inner_options)}, default_format)
    [key] = present
    if key != "img_data":
        if "channel_order" in content:
            raise BadRequest(f"channel_order is for img_data, not for {key}", EXPECTED_JSON)
        return UndecodedImage(file_of_base64(content[key], key), options, name)
    image = _pixels(content["img_data"], content.get("channel_order", "RGB"))
    return UndecodedImage(image, options, name)


def _pixels_hint(content: Mapping[str, Any]) -> str:
    """A hint for pixels under an option's name, such as image_data."""
    return next((did_you_mean(key, IMAGE_KEYS) for key, value in content.items() if isinstance(value, list)), "")


def _instances(content: Mapping[str, Any], outer_options: Mapping[str, Any], reading: Reading) -> list[UndecodedImage]:
    """Reads the protocol of KServe's version 1 and of TensorFlow Serving: {"instances": [{"image": …}, …]}.

    Options beside "instances" hold for all images. An instance can override them.
    """
    instances = content["instances"]
    if not isinstance(instances, list) or not instances:
        found = "empty" if instances == [] else preview(instances)
        raise BadRequest(f"instances is {found}", 'instances: a list of {"image": base64}, at least one')
    check_number(len(instances), reading.limits)
    shared = {key: value for key, value in content.items() if key != "instances"}
    shared_options = {**outer_options, **without_aliases(shared)}
    images = []
    for number, instance in enumerate(instances):
        name = f"instances[{number}]"
        with errors_name(name):
            images.append(_image(_instance(instance), shared_options, reading, name=name))
    return images


def _instance(value: Any) -> Mapping[str, Any]:
    """An instance as an object {"image": …}. It can also be only the base64, or TensorFlow Serving's {"b64": …}."""
    if isinstance(value, str) or (isinstance(value, dict) and set(value) == {"b64"}):
        return {"image": value}
    if not isinstance(value, dict):
        raise BadRequest(f"it is {preview(value)}", '{"image": base64}')
    return value


def _pixels(value: Any, order: Any) -> np.ndarray:
    """Reads `img_data`, (3, H, W) or (H, W, 3), with its channels in the given order, as uint8 (H, W, 3), RGB."""
    if not isinstance(order, str) or order.upper() not in ("RGB", "BGR"):
        raise BadRequest(f"channel_order is {preview(order)}", 'channel_order: "RGB" or "BGR"')
    image = channels_last(value if isinstance(value, np.ndarray) else pixels_of_lists(value))
    return image[..., ::-1] if order.upper() == "BGR" else image
