"""X-AnyLabeling's path of the gateway in the OpenAPI document, and what it reads in the list of models."""

from typing import Any

from tensormask_server.formats import JSON
from tensormask_server.openapi.answers import ERRORS, json_answer
from tensormask_server.openapi.bodies import SAMPLE
from tensormask_server.openapi.references import reference

STRING = {"type": "string"}
FRACTION = {"type": ["number", "null"], "minimum": 0, "maximum": 1}


def x_anylabeling_paths() -> dict[str, Any]:
    """The path, without its server."""
    failed = {
        status: {"description": description, "content": {JSON: {"schema": reference("ToolError")}}}
        for status, (description, _) in ERRORS.items()
    }
    example = {"model": "tensormask", "image": f"data:image/png;base64,{SAMPLE}", "params": {"conf_threshold": 0.5}}
    body = {"required": True, "content": {JSON: {"schema": reference("ToolRequest"), "example": example}}}
    return {
        "/v1/predict": {
            "post": {
                "operationId": "predict_shapes",
                "summary": "The shapes on an image, as X-AnyLabeling asks its remote server for them",
                "description": "The token may stand in a header `Token`, as the tool sends it.",
                "requestBody": body,
                "responses": {"200": json_answer("The shapes.", "ToolShapes"), **failed},
            }
        }
    }


def x_anylabeling_schemas() -> dict[str, Any]:
    """The schemas of the tool's requests and responses, by their names among the components."""
    params = {
        "conf_threshold": {**FRACTION, "description": "The option `score_threshold`."},
        "iou_threshold": {**FRACTION, "description": "The option `nms_threshold`."},
        "epsilon_factor": {**FRACTION, "description": "500 times this is the option `tolerance`."},
        "filter_classes": {
            "type": ["array", "null"],
            "items": STRING,
            "description": "The names of classes. Empty: all classes.",
        },
        "current_task": {"enum": ["polygons", "polygons_with_holes", "rectangles", None]},
    }
    shape = {
        "label": STRING,
        "shape_type": {"type": "string", "enum": ["polygon", "rectangle"]},
        "points": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        "score": {"type": "number"},
        "group_id": {"type": ["integer", "null"], "description": "The pieces of one instance have the same."},
    }
    model = {
        "display_name": STRING,
        "batch_processing_mode": STRING,
        "classes": {"type": "array", "items": STRING},
        "widgets": {"type": "array", "items": {"type": "object"}, "description": "Parts of the window, with values."},
        "available_tasks": {"type": "array", "items": {"type": "object"}},
    }
    error = {"type": "object", "required": ["code", "message"], "properties": {"code": STRING, "message": STRING}}
    return {
        "ToolRequest": {
            "type": "object",
            "description": "X-AnyLabeling's request. Other keys of `params` are ignored.",
            "required": ["model", "image"],
            "properties": {
                "model": {**STRING, "minLength": 1},
                "image": {**STRING, "minLength": 1, "description": "A data: URL, or base64."},
                "params": {"type": ["object", "null"], "properties": params},
            },
        },
        "ToolShapes": _object(
            {"success": {"const": True}, "data": _object({"shapes": _list("ToolShape"), "description": STRING})}
        ),
        "ToolShape": _object(shape),
        "ToolModel": _object(model),
        "ToolError": _object({"success": {"const": False}, "error": error}),
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [*properties], "properties": properties}


def _list(schema: str) -> dict[str, Any]:
    return {"type": "array", "items": reference(schema)}
