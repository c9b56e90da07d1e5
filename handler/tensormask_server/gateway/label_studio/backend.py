"""Label Studio's interface for ML backends: it asks for predictions for the tasks of a project.

Source: ml/api_connector.py and ml/models.py of the package label-studio 1.23, which send these requests.
"""

import asyncio
import base64
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tensormask_server.formats import JSON
from tensormask_server.gateway import reasons
from tensormask_server.gateway.body import Body
from tensormask_server.gateway.endpoint import Endpoint
from tensormask_server.gateway.errors import GatewayError, bad_request
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.json_bodies import json_object
from tensormask_server.gateway.label_studio.config import read_config
from tensormask_server.gateway.label_studio.images import LabelStudioImages
from tensormask_server.gateway.label_studio.labels import Labelling, labellings, unmatched
from tensormask_server.gateway.label_studio.networks import Networks
from tensormask_server.gateway.label_studio.predictions import Job, Task, tasks_of
from tensormask_server.gateway.server_check import check_server
from tensormask_server.printable import one_line, quoted

PREFIXES = ("", "/label-studio/{model}")  # of several models, the backend's URL names one
BRUSHED = re.compile(rb'"rle" ?: ?\[[0-9, ]*\]')  # the masks that tasks have already; they can be most of a request
MOST_VALUES = 2_000_000  # of a request's JSON: tasks come with their annotations, such as the points of polygons
MOST_NOTES = 100  # that aren't repeated in the log
BASIC = b"basic "
EXPECTED_TOKEN = "Basic authentication of the backend in Label Studio, with any user and the server's token as password"

logger = logging.getLogger(__name__)


def routes(gateway: Gateway) -> list[Route]:
    """The routes that Label Studio finds below the URL of a backend."""
    images = LabelStudioImages(gateway.settings, gateway.whole_bodies)
    networks = Networks(gateway)
    notes: deque[str] = deque(maxlen=MOST_NOTES)

    def note(text: str) -> None:
        if text not in notes:  # Label Studio repeats a setup before each other request
            notes.append(text)
            logger.warning("%s", text)

    async def health(scope: Scope, _: Body) -> Response:
        await _check_token(gateway, scope)
        return JSONResponse({"status": "UP", "model_class": "TensorMask"})

    async def versions(scope: Scope, _: Body) -> Response:
        await _check_token(gateway, scope)
        network = await networks.network(scope, _model(scope), must_be_fresh=False)
        return JSONResponse({"versions": [network.version]})

    async def setup(scope: Scope, body: Body) -> Response:
        """Neither the host nor the token in the request is used: whoever sends one could choose what is fetched."""
        await _check_token(gateway, scope)
        async with gateway.whole_bodies.read(body) as content:
            config = (await asyncio.to_thread(_read, content)).get("schema")
        network = await networks.network(scope, _model(scope), must_be_fresh=False)
        if rest := await asyncio.to_thread(_unmatched, config, network.classes):
            note(f"Label Studio's project has labels that the model {network.model} never finds: {rest}")
        if not gateway.settings.label_studio:
            note("the gateway fetches no images of Label Studio's tasks; expected the option --label-studio URL")
        return JSONResponse({"model_version": network.version})

    async def predict(scope: Scope, body: Body) -> Response:
        await _check_token(gateway, scope)
        async with gateway.whole_bodies.read(body) as content:
            started = asyncio.get_running_loop().time()
            network = await networks.network(scope, _model(scope), must_be_fresh=True)
            found, tasks, count = await asyncio.to_thread(_predicted, content, network.classes)
            job = Job(gateway, images, scope, body, network, found, started)
            try:
                results = await job.predictions(tasks, count)
            except GatewayError:
                networks.forget(network.model)
                raise
        return Response(b'{"results":' + results + b"}", media_type=JSON)

    async def webhook(scope: Scope, body: Body) -> Response:
        await _check_token(gateway, scope)
        async with gateway.whole_bodies.read(body) as content:
            action = (await asyncio.to_thread(_read, content)).get("action")
        if action == "START_TRAINING":
            raise _no_training()
        return JSONResponse({"status": "ignored"})  # annotations change nothing here

    async def train(_: Scope, __: Body) -> Response:
        raise _no_training()

    def route(method: str, name: str, respond: Callable[[Scope, Body], Awaitable[Response]]) -> list[Route]:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                body = Body(scope, receive, gateway.settings)
                response = await respond(_with_bearer(scope), body)
            except GatewayError as error:  # Label Studio shows its status line only
                scope["state"][reasons.KEY] = f"{error.error}; expected {error.expected}"
                logger.warning(
                    "Label Studio's /%s: %s; expected %s", name, *map(one_line, (error.error, error.expected))
                )
                raise
            await response(scope, receive, send)

        return [Route(f"{prefix}/{name}", Endpoint(answer), methods=[method]) for prefix in PREFIXES]

    return [
        *route("GET", "health", health),
        *route("GET", "versions", versions),
        *route("POST", "setup", setup),
        *route("POST", "predict", predict),
        *route("POST", "webhook", webhook),
        *route("POST", "train", train),
    ]


def _model(scope: Scope) -> str | None:
    name: str | None = scope["path_params"].get("model")
    return name


async def _check_token(gateway: Gateway, scope: Scope) -> None:
    """
    Raises:
        GatewayError: the server doesn't respond, or wants another token. What is known of a model is kept, so a request
            for it may reach the server with no other check of its token.
    """
    try:
        await check_server(gateway, scope)
    except GatewayError as error:
        if error.status != HTTPStatus.UNAUTHORIZED:
            raise
        raise GatewayError(error.status, error.error, EXPECTED_TOKEN, {"WWW-Authenticate": "Basic"}) from error


def _with_bearer(scope: Scope) -> Scope:
    """The request with its password of Basic authentication as the token, because Label Studio has no other way."""
    return {
        **scope,
        "headers": [(name, _bearer(value) if name == b"authorization" else value) for name, value in scope["headers"]],
    }


def _bearer(value: bytes) -> bytes:
    if not value.lower().startswith(BASIC):
        return value
    try:
        password = base64.b64decode(value[len(BASIC) :], validate=True).partition(b":")[2]
    except ValueError:
        password = b""
    return (b"Bearer " + password).strip()


def _read(content: bytes) -> dict[str, Any]:
    """Reads a request's JSON without the masks in it.

    Raises:
        GatewayError: as for `json_object`.
    """
    return json_object(BRUSHED.sub(b'"rle":[]', content), MOST_VALUES)


def _unmatched(config: object, classes: Sequence[str]) -> str:
    """The labels of a configuration that are no class, as `unmatched` says them.

    Raises:
        GatewayError: the configuration can't be read, or no label is a class.
    """
    controls = read_config(config)
    labellings(controls, classes)
    return unmatched(controls, classes)


def _predicted(content: bytes, classes: Sequence[str]) -> tuple[list[Labelling], list[Task], int]:
    """Reads a request for predictions, and keeps little of it.

    Returns:
        What each control gets, the tasks that are predicted, and the number of all tasks.

    Raises:
        GatewayError: the request can't be read, or no label is a class.
    """
    request = _read(content)
    tasks = request.get("tasks")
    if not isinstance(tasks, list):
        raise bad_request(f"tasks is {quoted(tasks)}", '{"tasks": […], "label_config": "<View>…"}')
    found = labellings(read_config(request.get("label_config")), classes)
    return found, tasks_of(tasks, found), len(tasks)


def _no_training() -> GatewayError:
    return GatewayError(
        HTTPStatus.NOT_IMPLEMENTED,
        "this server doesn't train",
        "an export of the project's annotations as COCO, with which docs/TRAINING.md trains a network",
    )
