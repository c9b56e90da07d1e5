"""The bodies of requests in the OpenAPI document."""

from typing import Any

from tensormask_server.images.signatures import SIGNATURES
from tensormask_server.openapi.option_schemas import option_properties
from tensormask_server.openapi.references import reference

# a PNG of 16×16 pixels, so that a viewer and a client's first try have an image
SAMPLE = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAFklEQVR42mM4UaFBEmIY1TCqYfhqAAADaGgQ4a3ZQQAAAABJRU5ErkJggg=="
FILE = {"type": "string", "format": "binary"}  # as OpenAPI 3.0 wrote it: more generators read it than 3.1's form
BASE64 = {"type": "string", "contentEncoding": "base64", "minLength": 1, "examples": [SAMPLE]}


def body_schemas() -> dict[str, Any]:
    """The schemas of bodies in JSON and of forms, by their names among the components."""
    options = option_properties()
    byte = {"type": "integer", "minimum": 0, "maximum": 255}
    rows = {"type": "array", "minItems": 1, "items": {"type": "array", "minItems": 1, "items": byte}}
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string"},
            "datatype": {"type": "string", "enum": ["UINT8", "BYTES"]},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array", "description": "Pixels, nested or flat, or image files in base64.", "items": {}},
            "parameters": {"type": "object", "description": "Options.", "additionalProperties": True},
        },
    }
    return {
        "ImageRequest": {
            "type": "object",
            "description": "One image file in base64, and options. `data` is another name of `image`.",
            "required": ["image"],
            "additionalProperties": False,
            "properties": {
                "image": {**BASE64, "description": "An image file in base64, or a data: URL."},
                **options,
            },
        },
        "PixelsRequest": {
            "type": "object",
            "description": "The pixels of one image, and options. The default of `format` is `torch`.",
            "required": ["img_data"],
            "additionalProperties": False,
            "properties": {
                "img_data": {
                    "type": "array",
                    "description": "Of shape (3, H, W), or (H, W, 3): whole numbers from 0 to 255.",
                    "minItems": 3,
                    "maxItems": 3,
                    "items": rows,
                },
                "channel_order": {"type": "string", "enum": ["RGB", "BGR"], "default": "RGB"},
                **options,
            },
        },
        "InstancesRequest": {
            "type": "object",
            "description": "Several images, as in KServe's protocol v1. Options beside `instances` hold for all.",
            "required": ["instances"],
            "additionalProperties": False,
            "properties": {
                "instances": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"anyOf": [reference("ImageRequest"), reference("PixelsRequest"), BASE64]},
                },
                **options,
            },
        },
        "InferenceRequest": {
            "type": "object",
            "description": "The Open Inference Protocol, KServe's v2: one tensor that holds all images.",
            "required": ["inputs"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": tensor},
                "outputs": {"type": "array", "items": {"type": "object"}},
                "parameters": {"type": "object", "description": "Options.", "additionalProperties": True},
            },
        },
        "ImageForm": {
            "type": "object",
            "description": "A form. The response to one image is as that to a file; that to several is JSON.",
            "required": ["data"],
            "properties": {
                "data": {**FILE, "description": "An image file."},
                "images": {"type": "array", "items": FILE, "description": "More image files."},
                **options,
            },
        },
    }


def image_body() -> dict[str, Any]:
    """The body of a request in any way that the server reads one."""
    json_bodies = [reference(name) for name in ("ImageRequest", "PixelsRequest", "InstancesRequest")]
    return {
        "required": True,
        "description": f"An image file ({', '.join(SIGNATURES)}, AVIF), a form, or JSON. Content-Type of a file may be "
        "any but a form's, such as image/jpeg.",
        "content": {
            "application/octet-stream": {"schema": FILE},
            "multipart/form-data": {"schema": reference("ImageForm")},
            "application/json": {
                "schema": {"anyOf": json_bodies},
                "examples": {"image": {"value": {"image": SAMPLE, "score_threshold": 0.3}}},
            },
        },
    }


def json_body(name: str, example: dict[str, Any]) -> dict[str, Any]:
    """The body of a request in one kind of JSON.

    Args:
        name: of its schema among the components.
        example: a request that the server answers.
    """
    media_type = {"schema": reference(name), "examples": {"image": {"value": example}}}
    return {"required": True, "content": {"application/json": media_type}}
