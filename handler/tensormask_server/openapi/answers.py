"""The responses in the OpenAPI document: a request's results by format, errors, and headers."""

from typing import Any

from tensormask_server.formats import FORMATS, JSON
from tensormask_server.openapi.references import reference

BINARY = {"type": "string", "format": "binary"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
STRING = {"type": "string"}
SIZE = {"type": "integer", "minimum": 1}
NOTES = {"type": "array", "items": STRING, "description": "What was done to the image."}
JSON_FORMATS = {"coco": "CocoDocument", "polygons": "LabelmeFile"}  # from a format in JSON to its schema's name
OURS, ANYBODYS = ("Error",), ("Error", "TorchServeError")  # the schemas of an error's body
ERRORS = {  # from the status to what it means, and the schemas of its body
    "400": ("The request is wrong, or above a limit, or TorchServe wants another token.", ANYBODYS),
    "401": ("The gateway: the request has no valid token.", OURS),
    "404": ("No model has this name, or there is nothing at this path.", ANYBODYS),
    "408": ("The gateway: the request didn't arrive in time.", OURS),
    "413": ("The body is larger than the server's max_request_size. Without a gateway the answer is empty.", OURS),
    "500": ("The server failed, or TorchServe can't read the form.", ANYBODYS),
    "502": ("The gateway: the server broke off the connection.", OURS),
    "503": ("The queue is full, or the response has no room now. Send the request again.", ANYBODYS),
    "504": ("The gateway: the server didn't respond in time.", OURS),
    "507": ("The memory is too small for this request.", OURS),
}


def answer_schemas() -> dict[str, Any]:
    """The schemas of responses in JSON, by their names among the components."""
    instance = {
        "image_id": {"anyOf": [INTEGER, STRING]},
        "file_name": STRING,
        "category_id": INTEGER,
        "category_name": STRING,
        "bbox": _described(_list(NUMBER, 4), "x, y, width and height in pixels."),
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "segmentation": reference("RunLengths"),
        "area": NUMBER,
        "iscrowd": INTEGER,
    }
    coco = {
        "image_id": {"anyOf": [INTEGER, STRING]},
        "file_name": STRING,
        "instances": _list(reference("Instance")),
        "width": SIZE,
        "height": SIZE,
        "model": STRING,
        "weights_sha256": STRING,
        "notes": NOTES,
    }
    shape = {
        "label": STRING,
        "points": _list(_list(NUMBER, 2)),
        "group_id": {"type": ["integer", "null"]},
        "description": STRING,
        "shape_type": {"type": "string", "enum": ["polygon"]},
        "flags": {"type": "object"},
    }
    labelme = {
        "version": STRING,
        "flags": {"type": "object"},
        "shapes": _list(reference("Shape")),
        "imagePath": STRING,
        "imageData": {"type": ["string", "null"]},
        "imageHeight": SIZE,
        "imageWidth": SIZE,
        "notes": NOTES,
    }
    output = {
        "name": STRING,
        "datatype": {"type": "string", "enum": ["BYTES"]},
        "shape": _list(INTEGER),
        "data": _described(_list(STRING), "For each image its JSON as a text."),
    }
    inference = {"model_name": STRING, "id": STRING, "outputs": _list(reference("Output"))}
    one_image = [reference(name) for name in JSON_FORMATS.values()]
    return {
        "CocoDocument": _object(coco, "The format coco.", optional=("image_id", "file_name", "notes")),
        "Instance": _object(instance, "One instance.", optional=("image_id", "file_name", "segmentation")),
        "RunLengths": _object({"size": _list(INTEGER, 2), "counts": STRING}, "A mask in COCO's compressed RLE."),
        "LabelmeFile": _object(labelme, "The format polygons, which LabelMe opens.", optional=("notes",)),
        "Shape": _object(shape, "One piece of a mask."),
        "Predictions": _object({"predictions": _list({"anyOf": one_image})}, "Several images, in their order."),
        "InferenceResponse": _object(inference, "The response of the Open Inference Protocol.", optional=("id",)),
        "Output": _object(output, "The only tensor of the response."),
        "Error": _object(
            {
                "error": _described(STRING, "What was wrong."),
                "expected": _described(STRING, "What would be accepted, and what to do."),
            },
            "An error of this server.",
        ),
        "TorchServeError": _object(
            {"code": INTEGER, "type": STRING, "message": STRING}, "An error of TorchServe's frontend."
        ),
    }


def results() -> dict[str, Any]:
    """The response with the detections on a request's images, in each format."""
    trees = [*JSON_FORMATS.values(), "Predictions"]
    content: dict[str, Any] = {JSON: {"schema": {"anyOf": [reference(name) for name in trees]}}}
    for format in FORMATS.values():
        if not format.is_json:
            is_text = format.media_type.startswith("text/")
            content[format.media_type] = {"schema": STRING if is_text else BINARY}
    return {"description": "The detections.", "headers": _headers(), "content": content}


def json_answer(description: str, schema: str, *, has_headers: bool = False) -> dict[str, Any]:
    """A response in JSON.

    Args:
        description: of it.
        schema: its name among the components.
        has_headers: whether it has the headers of a request's results.
    """
    response: dict[str, Any] = {"description": description, "content": {JSON: {"schema": reference(schema)}}}
    return response | ({"headers": _headers()} if has_headers else {})


def errors(*statuses: str) -> dict[str, Any]:
    """The responses to a request that gets no results, by status.

    Args:
        statuses: of ERRORS; none: all of them.
    """
    return {status: _error(status) for status in statuses or ERRORS}


def _error(status: str) -> dict[str, Any]:
    description, names = ERRORS[status]
    references = [reference(name) for name in names]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _headers() -> dict[str, Any]:
    return {
        "X-Instance-Count": _header(INTEGER, "The number of instances."),
        "X-Request-ID": _header(STRING, "The request's own, or one that the server has made."),
        "Server-Timing": _header(STRING, "The milliseconds of each part of the work."),
        "X-Image-Note": _header(STRING, "What was done to the image, if anything."),
    }


def _header(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "schema": schema}


def _object(properties: dict[str, Any], description: str, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "description": description, "required": required, "properties": properties}


def _list(items: dict[str, Any], length: int | None = None) -> dict[str, Any]:
    sizes = {} if length is None else {"minItems": length, "maxItems": length}
    return {"type": "array", "items": items, **sizes}


def _described(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {**schema, "description": description}
