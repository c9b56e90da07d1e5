"""POST /v1/predict, as X-AnyLabeling asks its remote server: an image as a data URL, and its shapes in the response.

The tool's window shows the status line of an error and not its body, so the status line has the error as well.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tensormask_server.formats import JSON
from tensormask_server.gateway import reasons
from tensormask_server.gateway.body import Body
from tensormask_server.gateway.endpoint import Endpoint
from tensormask_server.gateway.errors import GatewayError, bad_request
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.headers import with_token_header
from tensormask_server.gateway.json_bodies import json_object
from tensormask_server.gateway.segmentation import polygon_score, segmentation
from tensormask_server.gateway.server_check import check_server
from tensormask_server.gateway.x_anylabeling_models import POLYGONS, POLYGONS_WITH_HOLES, RECTANGLES, TASKS
from tensormask_server.option_values import MOST_TOLERANCE
from tensormask_server.printable import quoted
from tensormask_server.spelling import did_you_mean

TOLERANCE = 500  # pixels, of an epsilon_factor of 1: the tool's default of 0.001 is the server's of 0.5
EXPECTED_BODY = '{"model": NAME, "image": "data:image/png;base64,…", "params": {"conf_threshold": 0.5}}'
MOST_CLASS_TEXT = 1 << 20  # characters of all names together
# the codes of the published description, which has only five
CODES = {
    HTTPStatus.UNAUTHORIZED: "UNAUTHORIZED",
    HTTPStatus.SERVICE_UNAVAILABLE: "QUEUE_FULL",
    HTTPStatus.NOT_FOUND: "MODEL_NOT_FOUND",
}
Shape = dict[str, Any]  # the fields of the published schema


def routes(gateway: Gateway) -> list[Route]:
    """The route of predictions. The list of models is that of GET /v1/models."""

    async def predict(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":  # or else it would be a request for a model of the name v1
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})
        with_token = {**scope, "headers": with_token_header(scope["headers"])}
        try:
            await check_server(gateway, with_token)
            body = Body(scope, receive, gateway.settings)
            async with gateway.whole_bodies.read(body) as content:
                # in a thread: the gateway can answer others between the steps of reading megabytes of JSON
                model, task, request = await asyncio.to_thread(lambda: server_request(json_object(content)))
                name = await _model(gateway, model)
                result = await segmentation(gateway, with_token, body, name, request, {}, JSON.encode())
        except GatewayError as error:
            scope["state"][reasons.KEY] = f"{error.error}; expected {error.expected}"
            response = _failure(error)
        else:
            response = await asyncio.to_thread(_response, task, result)
        await response(scope, receive, send)

    return [Route("/v1/predict", Endpoint(predict))]


def _response(task: str, result: Mapping[str, Any]) -> JSONResponse:
    shapes = rectangles(result) if task == RECTANGLES else polygons(result)
    return JSONResponse({"success": True, "data": {"shapes": shapes, "description": ""}})


async def _model(gateway: Gateway, name: str) -> str:
    try:
        return await gateway.models.name_for(name)
    except GatewayError as error:
        if error.status != HTTPStatus.BAD_REQUEST:
            raise
        raise GatewayError(HTTPStatus.NOT_FOUND, error.error, error.expected) from error


def _failure(error: GatewayError) -> JSONResponse:
    """An error in the published form. Its status is that of HTTP: the tool takes a 200 for an image without shapes."""
    code = CODES.get(error.status, "INVALID_REQUEST" if error.status < 500 else "INFERENCE_ERROR")
    message = f"{error.error}; expected {error.expected}"
    return JSONResponse(
        {"success": False, "error": {"code": code, "message": message}}, error.status, headers=error.headers
    )


def server_request(content: Mapping[str, Any]) -> tuple[str, str, bytes]:
    """Reads a request.

    Args:
        content: the JSON object of its body.

    Returns:
        The model's name, the task, and the server's own request in JSON.

    Raises:
        GatewayError: a value is wrong: 400. The server checks the image, and the names of classes.
    """
    model, image = _text(content, "model"), _text(content, "image")
    if not image.isascii():  # escaped, it would become three times as long
        raise bad_request("image has characters that base64 doesn't have", EXPECTED_BODY)
    params = content.get("params")
    if params is None:
        params = {}
    if not isinstance(params, dict):
        raise bad_request(f"params is {quoted(params, 60)}", EXPECTED_BODY)
    params = {name: value for name, value in params.items() if value is not None}
    task = params.get("current_task", POLYGONS)
    if not isinstance(task, str) or task not in TASKS:
        hint = did_you_mean(task, TASKS) if isinstance(task, str) else ""
        raise bad_request(f"params.current_task is {quoted(task, 60)}{hint}", f"one of {', '.join(TASKS)}")
    options: dict[str, Any] = {"format": "coco"}
    if task != RECTANGLES:
        holes = "keep" if task == POLYGONS_WITH_HOLES else "fill"
        options = {"format": "polygons", "image_data": "none", "holes": holes}
        if "epsilon_factor" in params:
            options["tolerance"] = min(MOST_TOLERANCE, TOLERANCE * _fraction(params, "epsilon_factor"))
    for name, option in (("conf_threshold", "score_threshold"), ("iou_threshold", "nms_threshold")):
        if name in params:
            options[option] = _fraction(params, name)
    if classes := params.get("filter_classes"):
        if not isinstance(classes, list) or not all(isinstance(each, str) for each in classes):
            raise bad_request(f"params.filter_classes is {quoted(classes, 60)}", "a list of the names of classes")
        if sum(map(len, classes)) > MOST_CLASS_TEXT:
            found = f"params.filter_classes has more text than the {MOST_CLASS_TEXT} characters allowed"
            raise bad_request(found, "names of classes of the model")
        options["classes"] = classes
    return model, task, json.dumps({**options, "image": image}).encode()


def polygons(labelme: Mapping[str, Any]) -> list[Shape]:
    """The shapes of a LabelMe file that the server has made. The pieces of one instance have the same group_id."""
    return [
        _shape(
            each["label"],
            "polygon",
            _without_early_end(each["points"]),
            polygon_score(each),
            each["group_id"],
        )
        for each in labelme["shapes"]
    ]


def rectangles(coco: Mapping[str, Any]) -> list[Shape]:
    """The boxes of the server's format coco as shapes, with four corners each."""
    shapes = []
    for each in coco["instances"]:
        left, top, width, height = each["bbox"]
        right, bottom = left + width, top + height
        corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
        shapes.append(_shape(each["category_name"], "rectangle", corners, each["score"], None))
    return shapes


def _shape(label: str, shape_type: str, points: list[list[float]], score: float, group_id: int | None) -> Shape:
    return {
        "label": label,
        "shape_type": shape_type,
        "points": points,
        "score": score,
        "group_id": group_id,
        "attributes": {},
        "description": None,
        "difficult": False,
        "direction": 0,
        "flags": {},
        "kie_linking": [],
    }


def _without_early_end(points: list[list[float]]) -> list[list[float]]:
    """The same ring from another point on: one that stands in it once. The tool takes the first point for the end.

    A ring with a detour over a hole passes two points twice.
    """
    counts = Counter(map(tuple, points))
    start = next((index for index, point in enumerate(points) if counts[tuple(point)] == 1), 0)
    return points[start:] + points[:start]


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        found = f"{name} is {quoted(value, 60)}" if name in content else f"the body has no {name}"
        raise bad_request(found, EXPECTED_BODY)
    return value


def _fraction(params: Mapping[str, Any], name: str) -> float:
    value = params[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise bad_request(f"params.{name} is {quoted(value, 60)}", "a number from 0 to 1")
    return float(value)
