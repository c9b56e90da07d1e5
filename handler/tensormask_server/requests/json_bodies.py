"""Requests in JSON: their images, not decoded yet, and the options of each image.

The key that holds the images decides the protocol: `instances`, `inputs`, or `image` and `img_data`.
"""

import base64
import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensormask_server.bad_request import BadRequest, preview
from tensormask_server.detections import DEFAULT_OPTIONS, PredictionOptions
from tensormask_server.options import Limits
from tensormask_server.requests.json_pixels import channels_last, pixels_of_lists
from tensormask_server.requests.limits import check_number
from tensormask_server.requests.options import ALIASES, OPTIONS, is_option, parse_options, without_aliases
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
OPEN_INFERENCE_KEYS = ("inputs", "parameters", "id", "outputs")
EXPECTED_KEYS = f"image or img_data, and beside it {', '.join(OPTIONS)} (channel_order for img_data)"


@dataclass(frozen=True)
class UndecodedImage:
    """One image of a request before it is decoded, and the options for it."""

    image: bytes | np.ndarray  # a file's bytes, or uint8 (H, W, 3), RGB
    options: PredictionOptions
    format: str  # of the response: one of FORMATS
    name: str = ""  # its place in a request of several images, for errors: "instances[1]"


@dataclass(frozen=True)
class JsonReader:
    """Reads the JSON objects of requests."""

    limits: Limits
    class_names: Sequence[str]
    defaults: PredictionOptions = DEFAULT_OPTIONS  # of options that aren't requested

    def read(
        self, content: Mapping[str, Any], outer_options: Mapping[str, Any]
    ) -> tuple[list[UndecodedImage], InferenceProtocol]:
        """
        Args:
            content: the JSON object; `img_data`, if it has one, as a uint8 array.
            outer_options: the options from outside the body. Those in the body override them.

        Returns:
            The images, at least one, and the protocol of the request and its response.

        Raises:
            BadRequest: the content is wrong. Images that are files haven't been opened yet.
        """
        if "instances" in content:
            return self._v1(content, outer_options), KServeV1()
        if "inputs" in content:
            return self._v2(content, outer_options), OpenInference(content.get("id"))
        return [self._item(content, outer_options, "torch" if "img_data" in content else "coco")], OneImage()

    def _item(
        self, content: Mapping[str, Any], outer_options: Mapping[str, Any], default_format: str = "coco", name: str = ""
    ) -> UndecodedImage:
        """Reads an object with the image in "image" or "img_data", and options beside it."""
        inner_options = {key: value for key, value in content.items() if key not in IMAGE_KEYS}
        for key in inner_options:
            if not is_option(key):
                hint = did_you_mean(key, (*IMAGE_KEYS, *OPTIONS, *ALIASES))
                raise BadRequest(f"the body has the unknown key {preview(key)}{hint}", EXPECTED_KEYS)
        if ("image" in content) == ("img_data" in content):
            both = "both img_data and" if "image" in content else "no img_data and no"
            raise BadRequest(f"the body has {both} image", EXPECTED_BODY)
        options, format = self.options({**outer_options, **without_aliases(inner_options)}, default_format)
        if "image" in content:
            if "channel_order" in content:
                raise BadRequest("channel_order is for img_data, not for image", EXPECTED_BODY)
            return UndecodedImage(_base64(content["image"]), options, format, name)
        image = _pixels(content["img_data"], content.get("channel_order", "RGB"))
        return UndecodedImage(image, options, format, name)

    def options(
        self, requested_options: Mapping[str, Any], default_format: str = "coco"
    ) -> tuple[PredictionOptions, str]:
        """The options and the format of an image, as `parse_options`, with the default in the place of no format."""
        options, format = parse_options(requested_options, self.class_names, self.defaults)
        return options, format or default_format

    def _v1(self, content: Mapping[str, Any], outer_options: Mapping[str, Any]) -> list[UndecodedImage]:
        """Reads the protocol of KServe's version 1 and of TensorFlow Serving: {"instances": [{"image": …}, …]}.

        Options beside "instances" hold for all images; an instance can override them.
        """
        instances = content["instances"]
        if not isinstance(instances, list) or not instances:
            found = "empty" if instances == [] else preview(instances)
            raise BadRequest(f"instances is {found}", 'instances: a list of {"image": base64}, at least one')
        check_number(len(instances), self.limits)
        shared = {key: value for key, value in content.items() if key != "instances"}
        shared_options = {**outer_options, **without_aliases(shared)}
        images = []
        for number, instance in enumerate(instances):
            name = f"instances[{number}]"
            with errors_name(name):
                images.append(self._item(_instance(instance), shared_options, name=name))
        return images

    def _v2(self, content: Mapping[str, Any], outer_options: Mapping[str, Any]) -> list[UndecodedImage]:
        """Reads the Open Inference Protocol: a UINT8 tensor of pixels, or a BYTES tensor of image files in base64."""
        inputs, parameters = content["inputs"], content.get("parameters", {})
        for key in content:
            if key not in OPEN_INFERENCE_KEYS:
                hint = did_you_mean(key, OPEN_INFERENCE_KEYS)
                expected = ", ".join(OPEN_INFERENCE_KEYS)
                raise BadRequest(f"the body has the unknown key {preview(key)}{hint}", expected)
        if not isinstance(parameters, dict):
            raise BadRequest(f"parameters is {preview(parameters)}", "parameters: an object of options")
        if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
            found = f"a list of {len(inputs)}" if isinstance(inputs, list) else preview(inputs)
            raise BadRequest(f"inputs is {found}, not a list of one object", EXPECTED_INPUTS)
        (tensor,) = inputs
        options, format = self.options(
            {**outer_options, **without_aliases(parameters), **without_aliases(_tensor_options(tensor))}
        )
        _check_id_and_outputs(content)
        data, datatype, shape = tensor.get("data"), tensor.get("datatype"), tensor.get("shape")
        images: Sequence[bytes | np.ndarray]
        if datatype == "BYTES" and isinstance(data, list) and data:
            check_number(len(data), self.limits)
            if shape is not None and not (_is_sides(shape) and math.prod(shape) == len(data)):
                raise BadRequest(
                    f"inputs[0].data has {len(data)} strings, and shape {_shape_text(shape)}", EXPECTED_INPUTS
                )
            images = [_base64(each) for each in data]
        elif datatype == "UINT8" and _is_shape(shape):
            check_number(1 if len(shape) == 3 else shape[0], self.limits)
            images = _tensor(data, shape)
        else:
            found = f"datatype {preview(datatype)} and shape {_shape_text(shape)}"
            raise BadRequest(f"inputs[0] has {found}", EXPECTED_INPUTS)
        several = len(images) > 1
        return [
            UndecodedImage(image, options, format, name=f"inputs[0].data[{number}]" if several else "")
            for number, image in enumerate(images)
        ]


@contextmanager
def errors_name(name: str) -> Iterator[None]:
    """Each BadRequest from within the block begins with the image's name; "" adds nothing."""
    try:
        yield
    except BadRequest as error:
        if not name:
            raise
        raise BadRequest(f"{name}: {error.error}", error.expected, error.reason) from error


def _tensor_options(tensor: Mapping[str, Any]) -> dict[str, Any]:
    """The options among a tensor's own parameters. Clients of the protocol have other parameters there, too."""
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadRequest(f"inputs[0].parameters is {preview(parameters)}", "parameters: an object of options")
    return {name: value for name, value in parameters.items() if is_option(name)}


def _base64(value: Any) -> bytes:
    if isinstance(value, dict) and set(value) == {"b64"}:
        value = value["b64"]
    if value == "":
        raise BadRequest("image is empty", EXPECTED_BASE64)
    if not isinstance(value, str):
        raise BadRequest(f"image is {preview(value)}", EXPECTED_BASE64)
    if value.startswith(("http://", "https://")):
        raise BadRequest("image is a URL, and the server fetches nothing", EXPECTED_BASE64)
    try:
        return base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"image is not base64: {error}", EXPECTED_BASE64) from error


def _pixels(value: Any, order: Any) -> np.ndarray:
    if not isinstance(order, str) or order.upper() not in ("RGB", "BGR"):
        raise BadRequest(f"channel_order is {preview(order)}", 'channel_order: "RGB" or "BGR"')
    image = channels_last(value if isinstance(value, np.ndarray) else pixels_of_lists(value))
    return image[..., ::-1] if order.upper() == "BGR" else image


def _is_shape(value: Any) -> bool:
    """Whether it is [H, W, 3] or [N, H, W, 3], with sides in the range that tensors have."""
    return _is_sides(value) and len(value) in (3, 4) and value[-1] == 3


def _is_sides(value: Any) -> bool:
    return isinstance(value, list) and all(type(side) is int and 0 < side < 1 << 32 for side in value)


def _check_id_and_outputs(content: Mapping[str, Any]) -> None:
    """Checks two optional keys of the Open Inference Protocol: the request's id, and the outputs that it requests."""
    if not isinstance(content.get("id", ""), str):
        raise BadRequest(f"id is {preview(content['id'])}", "id: a string")
    outputs = content.get("outputs")
    named = (
        [each.get("name") if isinstance(each, dict) else None for each in outputs] if isinstance(outputs, list) else []
    )
    if outputs is not None and named != [OUTPUT]:
        raise BadRequest(
            f"outputs is {preview(outputs)}, with other outputs than the only one",
            f'outputs: [{{"name": "{OUTPUT}"}}], or leave it out',
        )


def _shape_text(shape: Any) -> str:
    if not isinstance(shape, list):
        return preview(shape)
    return f"[{', '.join(preview(side) for side in shape[:5])}{', …' if len(shape) > 5 else ''}]"


def _tensor(data: Any, shape: list[int]) -> list[np.ndarray]:
    """The images of a UINT8 tensor, each (H, W, 3). Its data is a flat list, or nested as the shape says."""
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
    arrays = [pixels_of_lists(each) for each in nested]
    if any(list(each.shape) != shape[-3:] for each in arrays):
        raise BadRequest(f"inputs[0].data doesn't have the shape {shape}", EXPECTED_INPUTS)
    return arrays


def _instance(value: Any) -> Mapping[str, Any]:
    """An instance as an object {"image": …}. It can also be only the base64, or TensorFlow Serving's {"b64": …}."""
    if isinstance(value, str) or (isinstance(value, dict) and set(value) == {"b64"}):
        return {"image": value}
    if not isinstance(value, dict):
        raise BadRequest(f"it is {preview(value)}", '{"image": base64}')
    return value
