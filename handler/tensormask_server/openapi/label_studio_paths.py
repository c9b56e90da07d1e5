"""The gateway's paths for Label Studio, in the OpenAPI document."""

from typing import Any

from tensormask_server.formats import JSON
from tensormask_server.openapi.answers import errors
from tensormask_server.openapi.references import reference

STRING = {"type": "string"}
STRINGS = {"type": "array", "items": STRING}
OBJECT = {"type": "object"}
CONFIG = {"type": "string", "description": "The labelling configuration, in XML.", "maxLength": 1 << 20}
EXAMPLE_CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">'
    '<Label value="person"/></BrushLabels></View>'
)
GET_ERRORS = ("400", "401", "500", "502", "503", "504")
POST_ERRORS = (*GET_ERRORS, "408", "413")
ALL_ERRORS = ()


def label_studio_paths() -> dict[str, Any]:
    """The paths below the URL of an ML backend. They are below /label-studio/MODEL as well, for a model by name."""
    task = {"type": "object", "required": ["data"], "properties": {"id": {"type": "integer"}, "data": OBJECT}}
    tasks = {"type": "array", "items": task, "description": "Tasks, as Label Studio sends them."}
    predictions = {"type": "array", "description": "A prediction for each task; [] if it has none.", "items": {}}
    setup = _body({"schema": CONFIG}, {"schema": EXAMPLE_CONFIG})
    predict = _body({"tasks": tasks, "label_config": CONFIG}, {"tasks": [], "label_config": EXAMPLE_CONFIG})
    event = _body({"action": STRING}, {"action": "ANNOTATION_CREATED"})
    training = {
        "501": {
            "description": "Label Studio asks for training, which this server doesn't do.",
            "content": {JSON: {"schema": reference("Error")}},
        }
    }
    return {
        "/health": {"get": _operation("health", "whether the server takes the token", GET_ERRORS, {"status": STRING})},
        "/versions": {"get": _operation("versions", "the model's version", GET_ERRORS, {"versions": STRINGS})},
        "/setup": {
            "post": {
                **_operation("setup", "checks a labelling configuration", POST_ERRORS, {"model_version": STRING}),
                "requestBody": setup,
            }
        },
        "/predict": {
            "post": {
                **_operation("predict", "predictions for tasks", ALL_ERRORS, {"results": predictions}),
                "requestBody": predict,
            }
        },
        "/webhook": {
            "post": {
                **_operation("webhook", "takes events, and ignores them", POST_ERRORS, {"status": STRING}, training),
                "requestBody": event,
            }
        },
        "/train": {"post": _operation("train", "refuses to train", POST_ERRORS, {}, training)},
    }


def _operation(
    name: str, summary: str, statuses: tuple[str, ...], response: dict[str, Any], more: dict[str, Any] | None = None
) -> dict[str, Any]:
    content = {JSON: {"schema": _object(response)}}
    found = {"200": {"description": "The response.", "content": content}} if response else {}
    return {
        "operationId": f"label_studio_{name}",
        "summary": f"Label Studio: {summary}",
        "responses": {**found, **errors(*statuses), **(more or {})},
    }


def _body(properties: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {JSON: {"schema": {**_object(properties), "examples": [example]}}}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}
