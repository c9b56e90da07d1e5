"""Label Studio's requests to the gateway, before a real server. test_label_studio_itself.py has Label Studio itself."""

import base64
import io
import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tensormask_server.gateway.label_studio.predictions import MOST_TASKS
from tensormask_server.instances import decode_mask

from reference.cases import Case
from tests.served.conftest import ROOT, Server, free_ports, is_listening, launched
from tests.served.gateways import RunningGateway, gateway_of
from tests.unit.gateway.label_studio.test_rle import decoded
from tests.waiting import PATIENCE, wait_for

PREFIXES = ("", "/label-studio/tiny")


@pytest.fixture(scope="module")
def gateway(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with gateway_of(server, tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
def http(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
def found(http: httpx.Client, case: Case) -> dict[str, Any]:
    """What the server itself finds."""
    answer: dict[str, Any] = http.post("/v1/segment", content=file_of(case.image)).json()
    assert len({each["category_name"] for each in answer["instances"]}) > 1
    return answer


def file_of(pixels: np.ndarray, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", **options)
    return content.getvalue()


def task_of(content: bytes, id: int = 1) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return {"id": id, "data": {"image": url}, "predictions": [], "annotations": []}


def config_of(names: set[str], tool: str = "BrushLabels", attributes: str = "") -> str:
    labels = "".join(f'<Label value="{name}"/>' for name in sorted(names))
    return f'<View><Image name="i" value="$image"/><{tool} name="l" toName="i" {attributes}>{labels}</{tool}></View>'


def names_of(found: dict[str, Any]) -> set[str]:
    return {each["category_name"] for each in found["instances"]}


def predicted(http: httpx.Client, config: str, *tasks: object, prefix: str = "") -> list[Any]:
    request = {"tasks": tasks, "project": "1.2", "label_config": config, "params": {"context": None}}
    answer = http.post(f"{prefix}/predict", json=request)
    assert answer.status_code == 200, answer.text
    results: list[Any] = answer.json()["results"]
    assert len(results) == len(tasks)
    return results


@pytest.mark.parametrize("prefix", PREFIXES)
def test_brush_masks_are_the_servers_bit_for_bit(
    http: httpx.Client, case: Case, found: dict[str, Any], prefix: str
) -> None:
    config = config_of(names_of(found))
    version = http.post(f"{prefix}/setup", json={"project": "1.2", "schema": config}).json()["model_version"]
    assert version == f"tiny-{found['weights_sha256'][:12]}"
    assert http.get(f"{prefix}/versions").json() == {"versions": [version]}
    assert http.get(f"{prefix}/health").json()["status"] == "UP"
    [prediction] = predicted(http, config, task_of(file_of(case.image)), prefix=prefix)
    assert prediction["model_version"] == version
    height, width = case.image.shape[:2]
    instances = [each for each in found["instances"] if each["area"]]
    assert prediction["score"] == pytest.approx(np.mean([each["score"] for each in instances]))
    for region, instance in zip(prediction["result"], instances, strict=True):
        mask = decode_mask(instance["segmentation"]["counts"], height, width)
        np.testing.assert_array_equal(decoded(region["value"]["rle"], height, width)[..., 3], 255 * mask)
        assert region["value"]["brushlabels"] == [instance["category_name"]]
        assert region["score"] == instance["score"]
        assert (region["original_height"], region["original_width"]) == (height, width)


def test_polygons_and_boxes_are_the_servers(http: httpx.Client, case: Case, found: dict[str, Any]) -> None:
    content = file_of(case.image)
    shapes = http.post("/v1/segment?format=polygons&image_data=none", content=content).json()["shapes"]
    height, width = case.image.shape[:2]
    [prediction] = predicted(http, config_of(names_of(found), "PolygonLabels"), task_of(content))
    for region, shape in zip(prediction["result"], shapes, strict=True):
        points = np.array(region["value"]["points"]) * [width, height] / 100
        np.testing.assert_allclose(points, shape["points"], atol=1e-9)
        assert region["value"]["polygonlabels"] == [shape["label"]]
    [prediction] = predicted(http, config_of(names_of(found), "RectangleLabels"), task_of(content))
    for region, instance in zip(prediction["result"], found["instances"], strict=True):
        box = [region["value"][side] for side in ("x", "y", "width", "height")]
        np.testing.assert_allclose(np.array(box) * [width, height, width, height] / 100, instance["bbox"], atol=1e-9)


def test_a_threshold_and_labels_choose(http: httpx.Client, case: Case, found: dict[str, Any]) -> None:
    name = found["instances"][1]["category_name"]
    scores = [each["score"] for each in found["instances"] if each["category_name"] == name]
    config = config_of({name.upper()}, "RectangleLabels", f'model_score_threshold="{scores[0] - 1e-4}"')
    [prediction] = predicted(http, config, task_of(file_of(case.image)))
    assert {each["value"]["rectanglelabels"][0] for each in prediction["result"]} == {name.upper()}
    assert [each["score"] for each in prediction["result"]] == [each for each in scores if each > scores[0] - 1e-4]


def test_the_size_is_that_of_the_upright_image(http: httpx.Client, case: Case, found: dict[str, Any]) -> None:
    """Browsers show it so, and Label Studio with them."""
    exif = Image.Exif()
    exif[0x0112] = 6  # 90° to the right
    turned = np.rot90(case.image).copy()
    [prediction] = predicted(http, config_of(names_of(found)), task_of(file_of(turned, exif=exif)))
    height, width = case.image.shape[:2]
    first = found["instances"][0]
    region = prediction["result"][0]
    assert (region["original_height"], region["original_width"]) == (height, width)
    mask = decode_mask(first["segmentation"]["counts"], height, width)
    np.testing.assert_array_equal(decoded(region["value"]["rle"], height, width)[..., 3], 255 * mask)


def test_one_bad_task_costs_no_other(http: httpx.Client, case: Case, found: dict[str, Any]) -> None:
    good = task_of(file_of(case.image))
    bad = [
        {"id": 2, "data": {"image": "/data/upload/1/x.png"}},
        {"id": 3, "data": {"text": "no image"}},
        {"id": 4, "data": {"image": "data:image/png;base64,AAAA"}},
        {"id": 5, "data": {"image": None}},
        "no task",
    ]
    first, *others, last = predicted(http, config_of(names_of(found)), good, *bad, good)
    assert others == [[]] * len(bad)
    assert len(first["result"]) == len(last["result"]) > 1
    assert predicted(http, config_of(names_of(found))) == []
    for task in bad:
        answer = http.post("/predict", json={"tasks": [task], "label_config": config_of(names_of(found))})
        assert answer.status_code == 400
        assert answer.json()["expected"]


def test_many_tasks_are_answered_in_their_order(http: httpx.Client, case: Case, found: dict[str, Any]) -> None:
    """Each image is another part, so that a swap would be seen."""
    parts = [case.image[: 40 + 5 * index] for index in range(9)]
    results = predicted(http, config_of(names_of(found)), *(task_of(file_of(part)) for part in parts))
    heights = [region["original_height"] for each in results for region in each["result"][:1]]
    assert heights == [len(part) for part, each in zip(parts, results, strict=True) if each["result"]]
    assert len(set(heights)) > 3


def test_tasks_beyond_the_limit_are_left_for_the_next_request(
    http: httpx.Client, case: Case, found: dict[str, Any]
) -> None:
    good = task_of(file_of(case.image))
    first, *others = predicted(http, config_of(names_of(found)), good, *["bad"] * (MOST_TASKS - 1), good)
    assert first["result"]
    assert others == [[]] * MOST_TASKS


def test_masks_that_tasks_have_already_do_not_count(http: httpx.Client, case: Case, found: dict[str, Any]) -> None:
    task = task_of(file_of(case.image))
    task["predictions"] = [{"result": [{"value": {"format": "rle", "rle": [200] * 3_000_000}}]}]
    [prediction] = predicted(http, config_of(names_of(found)), task)
    assert prediction["result"]


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("/setup", b"", "no body"),
        ("/setup", b"[1]", "the JSON is [1]"),
        ("/setup", b"[" * 100_000, "nested too deeply"),
        ("/setup", b"{}", "configuration is None"),
        ("/setup", json.dumps({"schema": config_of({"no such class"})}).encode(), "no label of the project is a class"),
        ("/setup", json.dumps({"schema": "<!DOCTYPE x><View/>"}).encode(), "document type"),
        ("/predict", b"{}", "tasks is None"),
        ("/predict", b'{"tasks": []}', "configuration is None"),
        ("/predict", b'{"tasks": [' + b"[]," * 1_000_000 + b"[]]}", "the JSON has about"),
        ("/webhook", b"\xff", "not JSON"),
        ("/label-studio/absent/setup", json.dumps({"schema": config_of({"a"})}).encode(), "model is 'absent'"),
    ],
)
def test_wrong_requests_get_a_400(http: httpx.Client, path: str, content: bytes, said: str) -> None:
    answer = http.post(path, content=content)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert said in answer.extensions["reason_phrase"].decode()  # which Label Studio shows
    assert len(answer.content) < 4000


def test_the_log_names_labels_without_a_class_and_a_missing_option_once(
    server: Server, found: dict[str, Any], tmp_path: Path
) -> None:
    with gateway_of(server, tmp_path) as gateway:
        for _ in range(2):
            setup = {"schema": config_of({*names_of(found), "unicorn"})}
            assert httpx.post(f"{gateway.url}/setup", json=setup, timeout=PATIENCE).status_code == 200
        gateway.process.terminate()
        assert gateway.process.stdout is not None
        said = gateway.process.stdout.read()
    assert said.count("never finds: 'unicorn'") == 1
    assert said.count("expected the option --label-studio URL") == 1


def test_events_are_ignored_and_training_is_refused(http: httpx.Client) -> None:
    assert http.post("/webhook", json={"action": "ANNOTATION_CREATED", "annotation": {}}).status_code == 200
    for path, event in (("/webhook", {"action": "START_TRAINING"}), ("/train", {})):
        answer = http.post(path, json=event)
        assert answer.status_code == 501
        assert "TRAINING.md" in answer.json()["expected"]


def test_the_password_of_a_backend_is_the_servers_token(archive: Path, case: Case, tmp_path: Path) -> None:
    [port] = free_ports(1)
    token = tmp_path / "token"
    token.write_text("0123abcd")
    long = tmp_path / "long-tokens.properties"
    long.write_text(f"{(ROOT / 'config.properties').read_text()}\ntoken_expiration_min=43200\n")
    options = ("-h", "0.0.0.0", "--ts-config", long, "--gateway", port, "--label-studio", "http://127.0.0.1:1")
    with launched(tmp_path, "--archive", archive, *options, "--label-studio-token-file", token, PATH="") as server:
        wait_for(lambda: is_listening(port), "the gateway")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as http:
            right = ("label-studio", server.keys()["inference"])
            end = json.loads(server.key_file.read_text())["inference"]["expiration time"]
            assert datetime.fromisoformat(end[:19] + "+00:00") - datetime.now(UTC) > timedelta(days=29)
            task = task_of(file_of(case.image))
            unreachable = {"id": 2, "data": {"image": "/data/x.png"}}
            bearer = {"Authorization": f"Bearer {right[1]}"}
            config = config_of(set(http.get("/v1/models", headers=bearer).json()["models"][0]["classes"]))
            for method, path, content in (
                ("GET", "/health", None),
                ("GET", "/versions", None),
                ("POST", "/setup", {"schema": config}),
                ("POST", "/predict", {"tasks": [task], "label_config": config}),
            ):
                assert http.request(method, path, json=content, auth=right).status_code == 200
                for wrong in (None, ("label-studio", "wrong"), ("", "")):
                    answer = http.request(method, path, json=content, auth=wrong)
                    assert answer.status_code == 401
                    assert "Basic authentication" in answer.json()["expected"]
            answer = http.post("/predict", json={"tasks": [unreachable], "label_config": config}, auth=right)
            assert answer.status_code == 502
            assert "Label Studio at http://127.0.0.1:1" in answer.json()["error"]


@pytest.mark.extensive  # a request that TorchServe loses is waited for
def test_a_dead_worker_is_said_and_the_next_request_is_answered(archive: Path, case: Case, tmp_path: Path) -> None:
    with (
        launched(tmp_path, "--archive", archive, PATH="") as server,
        gateway_of(server, tmp_path) as gateway,
        httpx.Client(base_url=gateway.url, timeout=PATIENCE) as http,
    ):
        config = config_of(set(http.get("/v1/models").json()["models"][0]["classes"]))
        task = task_of(file_of(case.image))
        assert predicted(http, config, task)[0]["result"]
        for pid in server.worker_pids():
            os.kill(pid, signal.SIGKILL)
        answer = http.post("/predict", json={"tasks": [task] * 3, "label_config": config})
        assert answer.status_code in (200, 500, 502, 503, 504, 507)  # 200: there is a new worker already
        if answer.status_code != 200:
            assert answer.json().keys() == {"error", "expected"}
            assert "gateway failed" not in answer.json()["error"]
        wait_for(server.is_ready, "a new worker")
        assert predicted(http, config, task)[0]["result"]
