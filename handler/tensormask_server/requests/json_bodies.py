"""Requests in JSON, by the key that holds their images: what is asked, with nothing decoded yet."""

import base64
import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensormask_server.bad_request import BadRequest, shown
from tensormask_server.options import Limits
from tensormask_server.requests.json_pixels import channels_last, pixels_of_lists
from tensormask_server.requests.limits import check_number
from tensormask_server.requests.options import ALIASES, OPTIONS, RequestOptions, parse_options, unaliased
from tensormask_server.responses.protocols import OUTPUT, InferenceProtocol, KServeV1, OneImage, OpenInference
from tensormask_server.spelling import did_you_mean

EXPECTED_BODY = (
    "an image's bytes (JPEG, PNG, WebP, GIF, BMP or TIFF: curl -T image.jpg), or JSON: "
    '{"image": base64}, {"instances": […]} or {"img_data": [[[…]]]} of shape (3, H, W), RGB, whole numbers 0…255'
)
EXPECTED_BASE64 = "image: the bytes of an image file in base64"
EXPECTED_INPUTS = (
    'inputs: [{"name": "image", "datatype": "UINT8", "shape": [H, W, 3] or [N, H, W, 3], "data": […]}] or '
    '[{"name": "image", "datatype": "BYTES", "shape": [N], "data": [base64, …]}]'
)
IMAGE_KEYS = ("img_data", "image", "channel_order")
EXPECTED_KEYS = f"image or img_data, and beside it {', '.join(OPTIONS)} (channel_order for img_data)"


@dataclass(frozen=True)
class Asked:
    """One image as it came, and what is asked of it."""

    image: bytes | np.ndarray  # a file's bytes, or uint8 (H, W, 3), RGB
    options: RequestOptions
    default_format: str = "coco"
    name: str = ""  # in the request, where it has several


class JsonReader:
    """Reads the objects that requests are."""

    def __init__(self, limits: Limits, class_names: Sequence[str]):
        self.limits = limits
        self.class_names = class_names

    def asked(self, content: Mapping[str, Any], outer: Mapping[str, Any]) -> tuple[list[Asked], InferenceProtocol]:
        """
        Args:
            outer: the options that the request has outside of its body.

        Returns:
            The images, at least one, and the protocol of the request and its response.

        Raises:
            BadRequest: whatever is wrong with the content, but for images in it, which nobody has looked at.
        """
        if "instances" in content:
            return self._v1(content, outer), KServeV1()
        if "inputs" in content:
            return self._v2(content, outer), OpenInference(content.get("id"))
        return [self._item(content, outer, "torch" if "img_data" in content else "coco")], OneImage()

    def _item(
        self, content: Mapping[str, Any], outer: Mapping[str, Any], default_format: str = "coco", name: str = ""
    ) -> Asked:
        """An image under "image" or "img_data", its options beside it."""
        own = {key: value for key, value in content.items() if key not in IMAGE_KEYS}
        for key in own:
            if key not in OPTIONS and key not in ALIASES:
                near = did_you_mean(key, (*IMAGE_KEYS, *OPTIONS, *ALIASES))
                raise BadRequest(f"the body has the unknown key {shown(key)}{near}", EXPECTED_KEYS)
        if ("image" in content) == ("img_data" in content):
            both = "both img_data and" if "image" in content else "no img_data and no"
            raise BadRequest(f"the body has {both} image", EXPECTED_BODY)
        options = parse_options({**outer, **unaliased(own)}, self.class_names)
        if "image" in content:
            if "channel_order" in content:
                raise BadRequest("channel_order is for img_data, not for image", EXPECTED_BODY)
            return Asked(_base64(content["image"]), options, name=name)
        image = _pixels(content["img_data"], content.get("channel_order", "RGB"))
        return Asked(image, options, default_format, name)

    def _v1(self, content: Mapping[str, Any], outer: Mapping[str, Any]) -> list[Asked]:
        """KServe's and TensorFlow Serving's {"instances": [{"image": …}, …]}, options beside it for all of them."""
        instances = content["instances"]
        if not isinstance(instances, list) or not instances:
            found = "empty" if instances == [] else shown(instances)
            raise BadRequest(f"instances is {found}", 'instances: a list of {"image": base64}, at least one')
        check_number(len(instances), self.limits)
        common = {**outer, **unaliased({key: value for key, value in content.items() if key != "instances"})}
        asked = []
        for number, instance in enumerate(instances):
            name = f"instances[{number}]"
            with told_of(name):
                asked.append(self._item(_instance(instance), common, name=name))
        return asked

    def _v2(self, content: Mapping[str, Any], outer: Mapping[str, Any]) -> list[Asked]:
        """The Open Inference Protocol: one UINT8 tensor of pixels, or BYTES with an encoded image each."""
        inputs, parameters = content["inputs"], content.get("parameters", {})
        unknown = [key for key in content if key not in ("inputs", "parameters", "id", "outputs")]
        if unknown:
            raise BadRequest(f"the body has the unknown key {shown(unknown[0])}", "inputs, parameters, id and outputs")
        if not isinstance(parameters, dict):
            raise BadRequest(f"parameters is {shown(parameters)}", "parameters: an object of options")
        if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
            found = f"a list of {len(inputs)}" if isinstance(inputs, list) else shown(inputs)
            raise BadRequest(f"inputs is {found}, not a list of one object", EXPECTED_INPUTS)
        (tensor,) = inputs
        nearer = _options_beside(tensor)
        options = parse_options({**outer, **unaliased(parameters), **unaliased(nearer)}, self.class_names)
        _check_protocol(content)
        data, datatype, shape = tensor.get("data"), tensor.get("datatype"), tensor.get("shape")
        images: Sequence[bytes | np.ndarray]
        if datatype == "BYTES" and isinstance(data, list) and data:
            check_number(len(data), self.limits)
            if shape is not None and not (_is_sides(shape) and math.prod(shape) == len(data)):
                raise BadRequest(
                    f"inputs[0].data has {len(data)} texts, and shape {_shape_text(shape)}", EXPECTED_INPUTS
                )
            images = [_base64(each) for each in data]
        elif datatype == "UINT8" and _is_shape(shape):
            check_number(1 if len(shape) == 3 else shape[0], self.limits)
            images = _tensor(data, shape)
        else:
            found = f"datatype {shown(datatype)} and shape {_shape_text(shape)}"
            raise BadRequest(f"inputs[0] has {found}", EXPECTED_INPUTS)
        several = len(images) > 1
        return [
            Asked(image, options, name=f"inputs[0].data[{number}]" if several else "")
            for number, image in enumerate(images)
        ]


@contextmanager
def told_of(name: str) -> Iterator[None]:
    """A BadRequest in here says of which image it is; "" is the only one."""
    try:
        yield
    except BadRequest as error:
        if not name:
            raise
        raise BadRequest(f"{name}: {error.error}", error.expected, error.reason) from error


def _options_beside(tensor: Mapping[str, Any]) -> dict[str, Any]:
    """The options among a tensor's own parameters, where clients of the protocol say things of their own, too."""
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadRequest(f"inputs[0].parameters is {shown(parameters)}", "parameters: an object of options")
    return {name: value for name, value in parameters.items() if name in OPTIONS or name in ALIASES}


def _base64(value: Any) -> bytes:
    if isinstance(value, dict) and set(value) == {"b64"}:
        value = value["b64"]
    if value == "":
        raise BadRequest("image is empty", EXPECTED_BASE64)
    if not isinstance(value, str):
        raise BadRequest(f"image is {shown(value)}", EXPECTED_BASE64)
    if value.startswith(("http://", "https://")):
        raise BadRequest("image is a URL, and nothing is fetched", EXPECTED_BASE64)
    try:
        return base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"image is not base64: {error}", EXPECTED_BASE64) from error


def _pixels(value: Any, order: Any) -> np.ndarray:
    if not isinstance(order, str) or order.upper() not in ("RGB", "BGR"):
        raise BadRequest(f"channel_order is {shown(order)}", 'channel_order: "RGB" or "BGR"')
    image = channels_last(value if isinstance(value, np.ndarray) else pixels_of_lists(value))
    return image[..., ::-1] if order.upper() == "BGR" else image


def _is_shape(value: Any) -> bool:
    """Whether it is [H, W, 3] or [N, H, W, 3], of sides that any tensor could have."""
    return _is_sides(value) and len(value) in (3, 4) and value[-1] == 3


def _is_sides(value: Any) -> bool:
    return isinstance(value, list) and all(type(side) is int and 0 < side < 1 << 32 for side in value)


def _check_protocol(content: Mapping[str, Any]) -> None:
    """What the Open Inference Protocol has beside tensors and options: the request's id, and the outputs it wants."""
    if not isinstance(content.get("id", ""), str):
        raise BadRequest(f"id is {shown(content['id'])}", "id: a text")
    outputs = content.get("outputs")
    named = (
        [each.get("name") if isinstance(each, dict) else None for each in outputs] if isinstance(outputs, list) else []
    )
    if outputs is not None and named != [OUTPUT]:
        raise BadRequest(
            f"outputs is {shown(outputs)} of something else", f'outputs: [{{"name": "{OUTPUT}"}}], or none'
        )


def _shape_text(shape: Any) -> str:
    if not isinstance(shape, list):
        return shown(shape)
    return f"[{', '.join(shown(side) for side in shape[:5])}{', …' if len(shape) > 5 else ''}]"


def _tensor(data: Any, shape: list[int]) -> list[np.ndarray]:
    """The images (H, W, 3) of a UINT8 tensor, flat or nested."""
    images = 1 if len(shape) == 3 else shape[0]
    if isinstance(data, list) and data and not isinstance(data[0], list):
        if len(data) != math.prod(shape):
            raise BadRequest(f"inputs[0].data has {len(data)} values, and shape {math.prod(shape)}", EXPECTED_INPUTS)
        if not all(type(value) is int and 0 <= value <= 255 for value in data):
            raise BadRequest("inputs[0].data has something else than whole numbers from 0 to 255", EXPECTED_INPUTS)
        return list(np.array(data, np.uint8).reshape(images, *shape[-3:]))
    nested = data if len(shape) == 4 else [data]
    if not isinstance(nested, list) or len(nested) != images:
        found = f"inputs[0].data is {shown(data)} that doesn't have the shape {shape}"
        raise BadRequest(found, EXPECTED_INPUTS)
    arrays = [pixels_of_lists(each) for each in nested]
    if any(list(each.shape) != shape[-3:] for each in arrays):
        raise BadRequest(f"inputs[0].data doesn't have the shape {shape}", EXPECTED_INPUTS)
    return arrays


def _instance(value: Any) -> Mapping[str, Any]:
    """{"image": …} with its options; the base64 alone, or TensorFlow Serving's {"b64": …}, stand for the image."""
    if isinstance(value, str) or (isinstance(value, dict) and set(value) == {"b64"}):
        return {"image": value}
    if not isinstance(value, dict):
        raise BadRequest(f"it is {shown(value)}", '{"image": base64}')
    return value
