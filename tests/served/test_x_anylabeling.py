"""X-AnyLabeling's remote server on the gateway: its published requests, and the tool itself."""

import base64
import http.client
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tensormask_server.gateway.x_anylabeling import polygons

from examples.moving_drawings import DRAWINGS, scene
from examples.pictures import X_ANYLABELING, run_elsewhere
from reference.cases import Case
from tests.environments import python_with
from tests.served.conftest import Server
from tests.served.gateways import RunningGateway, gateway_of
from tests.waiting import PATIENCE

HOLE = [[2, 2], [2, 4], [4, 4], [4, 2], [2, 2]]
# as the server writes it: from its first point it goes to the hole and back
SHAPE = {
    "label": "cup",
    "points": [[0, 0], *HOLE, [0, 0], [9, 0], [9, 9], [0, 9]],
    "group_id": None,
    "description": "score 0.500",
}
PACKAGE = "x-anylabeling-cvhub[cpu]==4.2.1"


@pytest.fixture(scope="module")
def gateway(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with gateway_of(server, tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
def image(case: Case) -> bytes:
    file = io.BytesIO()
    Image.fromarray(case.image).save(file, "PNG")
    return file.getvalue()


def data_url(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def predict(gateway: RunningGateway, image: str, **params: object) -> list[dict[str, Any]]:
    body = {"model": "tiny", "image": image, "params": params}
    response = httpx.post(f"{gateway.url}/v1/predict", json=body, timeout=PATIENCE)
    assert response.status_code == 200, response.text
    content = response.json()
    assert content["success"]
    shapes: list[dict[str, Any]] = content["data"]["shapes"]
    return shapes


def segment(gateway: RunningGateway, image: bytes, **options: object) -> dict[str, Any]:
    response = httpx.post(
        f"{gateway.url}/v1/segment",
        content=image,
        params={each: str(value) for each, value in options.items()},
        timeout=PATIENCE,
    )
    content: dict[str, Any] = response.json()
    return content


def outline(points: list[list[float]]) -> set[tuple[float, ...]]:
    return set(map(tuple, points))


@pytest.mark.parametrize(("task", "holes"), [("polygons", "fill"), ("polygons_with_holes", "keep")])
def test_the_polygons_are_those_of_the_server(gateway: RunningGateway, image: bytes, task: str, holes: str) -> None:
    expected = segment(gateway, image, format="polygons", holes=holes, tolerance=0.1)["shapes"]
    shapes = predict(gateway, data_url(image), current_task=task, epsilon_factor=0.0002)
    assert len(shapes) == len(expected) > 3
    for shape, wanted in zip(shapes, expected, strict=True):
        assert shape["shape_type"] == "polygon"
        assert (shape["label"], shape["group_id"]) == (wanted["label"], wanted["group_id"])
        assert wanted["description"] == f"score {shape['score']:.3f}"
        assert outline(shape["points"]) == outline(wanted["points"])
        assert len(shape["points"]) == len(wanted["points"])


def test_the_rectangles_are_those_of_the_server(gateway: RunningGateway, image: bytes) -> None:
    expected = segment(gateway, image, score_threshold=0.2, nms_threshold=0.3)["instances"]
    shapes = predict(
        gateway,
        base64.b64encode(image).decode(),
        current_task="rectangles",
        conf_threshold=0.2,
        iou_threshold=0.3,
    )
    assert len(shapes) == len(expected) > 0
    for shape, wanted in zip(shapes, expected, strict=True):
        x, y, width, height = wanted["bbox"]
        assert shape["points"][0] == [x, y]
        assert shape["points"][2] == [x + width, y + height]
        assert (shape["shape_type"], shape["score"]) == ("rectangle", wanted["score"])


def test_a_filter_of_classes_holds(gateway: RunningGateway, image: bytes) -> None:
    labels = {each["label"] for each in predict(gateway, data_url(image))}
    kept = min(labels)
    assert len(labels) > 1
    assert {each["label"] for each in predict(gateway, data_url(image), filter_classes=[kept])} == {kept}


def test_the_list_has_the_tools_fields(gateway: RunningGateway) -> None:
    content = httpx.get(f"{gateway.url}/v1/models", timeout=PATIENCE).json()
    [model] = content["models"]
    tool = content["data"]["tiny"]
    assert tool["classes"] == model["classes"]
    assert {"name": "edit_conf", "value": 0.1} in tool["widgets"]  # the archive's own threshold


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        (b"", 400, "INVALID_REQUEST", "no body"),
        (b"\xff\xd8\xff\xe0", 400, "INVALID_REQUEST", "not JSON"),
        (b'{"model": "tiny"', 400, "INVALID_REQUEST", "not JSON"),
        (b"[" * 90_000, 400, "INVALID_REQUEST", "nested"),
        (b"[" + b"[],[]," * 1_000_000 + b"0]", 400, "INVALID_REQUEST", "values"),
        (b'{"model": "tiny"}', 400, "INVALID_REQUEST", "the body has no image"),
        (b'{"model": "tiny", "image": "AAAA"}', 400, "INVALID_REQUEST", "image"),
        (b'{"model": "tiny", "image": "not base64!"}', 400, "INVALID_REQUEST", "base64"),
        (b'{"model": "tiny", "image": "data:image/png;base64,iVBORw0KGgo"}', 400, "INVALID_REQUEST", "image"),
        (b'{"model": "tiny", "image": "data:text/html;base64,PGI+"}', 400, "INVALID_REQUEST", "image"),
        (b'{"model": "tiny", "image": "data:image/png,abc"}', 400, "INVALID_REQUEST", "image"),
        (b'{"model": "tiny", "image": "https://example.org/a.png"}', 400, "INVALID_REQUEST", "image"),
        (b'{"model": "tiny", "image": "{\\"img_data\\": [[[1]]]}"}', 400, "INVALID_REQUEST", "image"),
        (b'{"model": "tiny", "image": "\\ud800"}', 400, "INVALID_REQUEST", "image"),
        (b'{"model": "tinys", "image": "AAAA"}', 404, "MODEL_NOT_FOUND", "did you mean tiny"),
        (b'{"model": "../ping", "image": "AAAA"}', 404, "MODEL_NOT_FOUND", "model is '../ping'"),
        (b'{"model": "tiny", "image": "AAAA", "params": {"filter_classes": ["cow"]}}', 400, "INVALID_REQUEST", "cow"),
        (b'{"model": "tiny", "image": "AAAA", "params": {"conf_threshold": NaN}}', 400, "INVALID_REQUEST", "nan"),
    ],
    ids=range(18),
)
def test_an_error_stands_in_the_body_and_in_the_status_line(
    gateway: RunningGateway, image: bytes, body: bytes, status: int, code: str, said: str
) -> None:
    """The tool shows the status line to its user."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE)
    connection.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = json.loads(response.read())
    assert response.status == status, content
    assert not content["success"]
    assert content["error"]["code"] == code
    assert said in content["error"]["message"]
    assert said in response.reason
    assert "; expected " in response.reason
    connection.request("GET", "/healthz")  # on the same connection, where it is still there
    assert connection.getresponse().reason == "OK"
    assert predict(gateway, data_url(image))


def test_a_body_above_the_limit_is_refused(server: Server, tmp_path: Path) -> None:
    with gateway_of(server, tmp_path, "--max-request-size", 1000) as gateway:
        body = {"model": "tiny", "image": "A" * 10_000}
        response = httpx.post(f"{gateway.url}/v1/predict", json=body, timeout=PATIENCE)
        assert response.status_code == 413
        assert "more than the 1000 allowed" in response.json()["error"]["message"]


def test_without_a_server_the_error_says_so(tmp_path: Path) -> None:
    nowhere = Server((1, 1, 1), "tiny")
    with gateway_of(nowhere, tmp_path, says="waiting for") as gateway:
        response = httpx.post(f"{gateway.url}/v1/predict", json={"model": "tiny", "image": "AAAA"}, timeout=PATIENCE)
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert "isn't ready" in response.reason_phrase


# the tool's own class, for a model that it has got from the gateway: what it shows and what its shapes hold
CLIENT = """
import json, sys
from PyQt6.QtCore import QPointF
from PyQt6.QtGui import QImage
from PyQt6.QtWidgets import QApplication
from anylabeling import config
application = QApplication(sys.argv[:1])
config.current_config_file = json.dumps({"remote_server_settings": {"server_url": sys.argv[1], "api_key": ""}})
from anylabeling.services.auto_labeling.remote_server import RemoteServer
from anylabeling.views.labeling.shape import Shape
messages = []
remote = RemoteServer({"type": "remote_server", "name": "remote", "display_name": "Remote"}, messages.append)
[name] = remote.get_available_models()
remote.set_model_id(name)
remote.set_auto_labeling_conf(0.5)
remote.set_auto_labeling_iou(0.5)

def found(path):
    result = remote.predict_shapes(QImage(sys.argv[2]), path)
    return [shape.to_dict() for shape in result.shapes]

tasks = {}
for task in remote.models_info[name]["available_tasks"]:
    remote.set_task(task["id"])
    tasks[task["id"]] = found(sys.argv[2])
    assert found(None) == tasks[task["id"]]  # the image as the tool holds it, in place of its file
ring = Shape(shape_type="polygon")
for point in json.loads(sys.argv[3]):
    ring.add_point(QPointF(*point))
remote.set_auto_labeling_filter_classes(["apple"])
apples = found(sys.argv[2])
shown = list(messages)
remote.set_auto_labeling_conf(2)
assert found(sys.argv[2]) == []
print(json.dumps({"tasks": tasks, "apples": apples, "shown": shown, "errors": messages, "ring": len(ring.points)}))
"""


@pytest.mark.extensive
def test_the_tool_gets_its_shapes_and_draws_them(demo_server: Server, tmp_path: Path) -> None:
    python = python_with(tmp_path / "environment", PACKAGE)
    pixels, masks = scene(8, 24)
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path)}
    with gateway_of(demo_server, tmp_path) as gateway:
        [around_hole] = polygons({"shapes": [SHAPE]})
        words = [python, "-c", CLIENT, gateway.url, tmp_path / "scene.png", json.dumps(around_hole["points"])]
        result = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE)
        if any(library in result.stderr for library in ("libGL", "libEGL", "libxkb")):
            pytest.skip("Qt wants a library of the system that isn't here")
        assert result.returncode == 0, result.stderr
        said = json.loads(result.stdout.splitlines()[-1])
        assert said["ring"] == len(SHAPE["points"])  # the tool leaves out points that are the first one again
        assert said["shown"] == []
        [error] = said["errors"]
        assert "400 Client Error: params.conf_threshold is 2" in error
        assert {each["label"] for each in said["apples"]} == {"apple"}
        for task, shapes in said["tasks"].items():
            assert {each["label"] for each in shapes} == {each.name for each in DRAWINGS}
            assert {each["shape_type"] for each in shapes} == {"rectangle" if task == "rectangles" else "polygon"}
            assert all(0.5 < each["score"] <= 1 for each in shapes)
            assert len(shapes) == len(masks)
        run_elsewhere(str(python), X_ANYLABELING, [gateway.url, tmp_path / "scene.png", tmp_path / "w.png"], tmp_path)
    window = np.asarray(Image.open(tmp_path / "w.png").convert("RGB"), int)
    red = np.abs(window - (226, 81, 80)).sum(axis=-1) < 30  # of the apples, below the colour of their masks
    assert red.sum() > 1000
