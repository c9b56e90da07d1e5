"""The gateway's paths for Label Studio, in the OpenAPI document."""

from typing import Any

from tensormask_server.formats import JSON
from tensormask_server.openapi.answers import errors
from tensormask_server.openapi.references import reference

STRING = {"type": "string"}
OBJECT = {"type": "object"}
CONFIG = {"type": "string", "description": "The labelling configuration, in XML.", "maxLength": 1 << 20}
EXAMPLE_CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">'
    '<Label value="person"/></BrushLabels></View>'
)
MODEL = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "The model's name.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$", "examples": ["tensormask"]},
}
# before the names, with the start of the operations' ids, and what the paths share
PREFIXES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("", "label_studio", {}),
    ("/label-studio/{model}", "label_studio_model", {"parameters": [MODEL]}),
)


def label_studio_paths() -> dict[str, Any]:
    """The paths below the URL of an ML backend: those of the only model, and those of a model by name."""
    task = {"type": "object", "required": ["data"], "properties": {"id": {"type": "integer"}, "data": OBJECT}}
    tasks = {"type": "array", "items": task, "description": "Tasks, as Label Studio sends them."}
    predictions = {"type": "array", "description": "A prediction for each task; [] if it has none.", "items": {}}
    setup = _body({"schema": CONFIG}, {"schema": EXAMPLE_CONFIG})
    predict = _body({"tasks": tasks, "label_config": CONFIG}, {"tasks": [], "label_config": EXAMPLE_CONFIG})
    event = _body({"action": STRING}, {"action": "ANNOTATION_CREATED"})
    operations = {
        "health": {"get": _operation("whether the server responds, and takes the token", {"status": STRING})},
        "versions": {"get": _operation("the model's version", {"versions": {"type": "array", "items": STRING}})},
        "setup": {"post": _operation("checks a labelling configuration", {"model_version": STRING}, setup)},
        "predict": {"post": _operation("predictions for tasks", {"results": predictions}, predict)},
        "webhook": {"post": _operation("takes events, and ignores them", {"status": STRING}, event)},
        "train": {"post": _operation("refuses to train", {}, _body({}, {}))},
    }
    paths: dict[str, Any] = {}
    for prefix, id, shared in PREFIXES:
        for name, methods in operations.items():
            named = {method: {"operationId": f"{id}_{name}", **each} for method, each in methods.items()}
            paths[f"{prefix}/{name}"] = {**shared, **named}
    return paths


def _operation(summary: str, answer: dict[str, Any], body: dict[str, Any] | None = None) -> dict[str, Any]:
    described = {
        "summary": f"Label Studio: {summary}",
        "responses": {
            "200": {"description": "The response.", "content": {JSON: {"schema": _object(answer)}}},
            **errors(),
            "501": {
                "description": "Label Studio asks for training, which this server doesn't do.",
                "content": {JSON: {"schema": reference("Error")}},
            },
        },
    }
    return described | ({"requestBody": body} if body else {})


def _body(properties: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {JSON: {"schema": {**_object(properties), "examples": [example]}}}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}
