"""The paths that only the gateway has, in the OpenAPI document."""

from typing import Any

from tensormask_server.formats import JSON
from tensormask_server.openapi.answers import errors, json_answer, results
from tensormask_server.openapi.bodies import image_body, json_body
from tensormask_server.openapi.label_studio_paths import label_studio_paths
from tensormask_server.openapi.option_schemas import query_parameters
from tensormask_server.openapi.references import reference
from tensormask_server.openapi.x_anylabeling_paths import x_anylabeling_paths, x_anylabeling_schemas

SERVERS = [{"url": "http://127.0.0.1:8000", "description": "The gateway."}]
MODEL = {
    "name": "model",
    "in": "query",
    "description": "The model's name. It may be left out where the server has one model.",
    "schema": {"type": "string"},
}


STATUS = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"type": "string"},
        "workers": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
}


def gateway_paths() -> dict[str, Any]:
    """The paths of the gateway, each with its server."""
    paths: dict[str, dict[str, Any]] = {
        "/v1/segment": {
            "post": {
                "operationId": "segment_image",
                "summary": "The instances on an image, by the only model or by the one that is named",
                "parameters": [MODEL, *query_parameters()],
                "requestBody": image_body(),
                "responses": {"200": results(), **errors()},
            }
        },
        "/v1/models": {
            "get": {
                "operationId": "list_models",
                "summary": "The models with their classes, sizes and what they are for",
                "responses": {
                    "200": json_answer("The models.", "Models"),
                    **errors("400", "401", "500", "502", "503", "504"),
                },
            }
        },
    }
    paths |= x_anylabeling_paths()
    paths |= {
        "/model/": {
            "post": {
                "operationId": "first_server",
                "summary": "The masks on an image, as the first server for this network gave them",
                "description": "`img_data` is in BGR. The response is a gzip of what torch.save writes.",
                "parameters": [MODEL, *query_parameters()],
                "requestBody": json_body("PixelsRequest", {"img_data": [[[0] * 16] * 16] * 3}),
                "responses": {"200": results(), **errors()},
            }
        },
        "/": _text_page("page", "The page of the named or only model, or else a list of the models", MODEL),
        "/docs": _text_page("docs", "This document as a page"),
        "/openapi.json": _json_path("document", "This document", {"type": "object"}),
        "/healthz": _json_path("health", "Whether the gateway runs", STATUS),
        "/readyz": _json_path("readiness", "Whether each model has a worker that is ready", STATUS),
    }
    paths |= label_studio_paths()
    return {path: {"servers": SERVERS, **item} for path, item in paths.items()}


def _text_page(operation: str, summary: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    """A path that a browser opens."""
    response = {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}
    return _get(operation, summary, response, *parameters)


def _json_path(operation: str, summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    return _get(operation, summary, {"description": summary, "content": {JSON: {"schema": schema}}})


def _get(operation: str, summary: str, response: dict[str, Any], *parameters: dict[str, Any]) -> dict[str, Any]:
    responses = {"200": response, **errors("400", "401", "500", "502", "503", "504")}
    described = {"operationId": operation, "summary": summary, "responses": responses}
    return {"get": described | ({"parameters": list(parameters)} if parameters else {})}


def gateway_schemas() -> dict[str, Any]:
    """The schemas of what only the gateway answers, by their names among the components."""
    strings = {"type": "array", "items": {"type": "string"}}
    pixels = {"type": "integer", "minimum": 0}
    fraction = {"type": "number", "minimum": 0, "maximum": 1}
    model = {
        "name": {"type": "string", "description": "As in URLs and in `?model=`."},
        "about": {"type": "string", "description": "What the model is for; empty if its archive doesn't say."},
        "classes": {**strings, "description": "The names of the classes, by class number."},
        "has_masks": {"type": "boolean", "description": "Whether instances have masks, and not only boxes."},
        "weights_bytes": {"type": "integer", "minimum": 1, "description": "The size of the weights' file."},
        "weights_sha256": {"type": "string"},
        "shortest_side": {**pixels, "description": "To which the network resizes an image. 0: it resizes none."},
        "longest_side": {**pixels, "description": "To which it resizes an image at most."},
        "max_pixels": {**pixels, "description": "The limit of an image's height × width."},
        "score_threshold": {**fraction, "description": "The default of this option."},
        "nms_threshold": {**fraction, "description": "The default of this option."},
    }
    return {
        "Models": {
            "type": "object",
            "required": ["models", "success", "data"],
            "properties": {
                "models": {"type": "array", "items": reference("Model")},
                "success": {"const": True},
                "data": {
                    "type": "object",
                    "description": "The same models for X-AnyLabeling, by their names.",
                    "additionalProperties": reference("ToolModel"),
                },
            },
        },
        "Model": {
            "type": "object",
            "description": "A model. One whose archive an older version made has only its name.",
            "required": ["name"],
            "properties": model,
        },
        **x_anylabeling_schemas(),
    }
