"""What a client gets for a good request."""

import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from tensormask_server import Predictor

from reference.cases import Case
from tests.served.conftest import THRESHOLD, Response, Server, request_body, send


def assert_equals_predictor(response: Response, predictor: Predictor, image: np.ndarray, threshold: float) -> None:
    [expected] = predictor([image], threshold)
    tensors = response.tensors()
    assert response.content_type == "application/gzip"
    assert set(tensors) == {"pred_masks", "scores", "pred_classes", "pred_boxes"}
    assert len(tensors["scores"]) == len(expected)
    np.testing.assert_array_equal(tensors["pred_masks"], expected.masks)
    np.testing.assert_array_equal(tensors["pred_classes"], expected.classes)
    np.testing.assert_allclose(tensors["scores"], expected.scores, atol=1e-5)
    np.testing.assert_allclose(tensors["pred_boxes"], expected.boxes, atol=1e-3)


def test_the_response_is_the_predictors_own(server: Server, predictor: Predictor, case: Case) -> None:
    response = server.post(request_body(case.image))
    assert_equals_predictor(response, predictor, case.image, THRESHOLD)
    assert len(response.tensors()["scores"]) > 3


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; chartset=utf-8", "application/octet-stream", "text/plain", None],
)
def test_the_content_type_does_not_matter(
    server: Server, predictor: Predictor, case: Case, content_type: str | None
) -> None:
    body = request_body(case.image)
    if content_type is None:  # urllib would name a type of its own
        command = ["curl", "-sS", "-H", "Content-Type:", "--data-binary", "@-", server.url]
        response = Response(200, "application/gzip", subprocess.run(command, input=body, capture_output=True).stdout)
    else:
        response = server.post(body, content_type)
    assert_equals_predictor(response, predictor, case.image, THRESHOLD)


@pytest.mark.parametrize("way", ["-T {}", "-F data=@{}", "-H Content-Type:application/json --data-binary @{}"])
def test_curl_sends_the_file_in_any_way(
    server: Server, predictor: Predictor, case: Case, tmp_path: Path, way: str
) -> None:
    file = tmp_path / "image.json"
    file.write_bytes(request_body(case.image))
    command = ["curl", "-sS", *way.format(file).split(), server.url]
    response = Response(200, "application/gzip", subprocess.run(command, capture_output=True, check=True).stdout)
    assert_equals_predictor(response, predictor, case.image, THRESHOLD)


def test_without_instances_the_response_has_no_masks(server: Server, case: Case) -> None:
    tensors = server.post(request_body(case.image, threshold=1.0)).tensors()
    assert tensors["pred_masks"].shape == (0, *case.image.shape[:2])
    assert tensors["pred_masks"].dtype == torch.bool
    assert tensors["pred_boxes"].shape == (0, 4)


def test_a_request_brings_its_own_threshold(server: Server, predictor: Predictor, case: Case) -> None:
    response = server.post(request_body(case.image, threshold=0.4))
    assert_equals_predictor(response, predictor, case.image, 0.4)
    assert 0 < len(response.tensors()["scores"]) < len(server.post(request_body(case.image)).tensors()["scores"])


def test_a_file_of_the_first_server_is_read_as_bgr_on_request(server: Server, predictor: Predictor, case: Case) -> None:
    response = server.post(request_body(case.image[..., ::-1], channel_order="BGR"))
    assert_equals_predictor(response, predictor, case.image, THRESHOLD)


def test_clients_at_once_each_get_their_own_response(server: Server, predictor: Predictor, case: Case) -> None:
    images = [np.ascontiguousarray(case.image[: 150 - 9 * i, : 200 - 7 * i]) for i in range(8)]
    bodies = [request_body(image) for image in images]
    with ThreadPoolExecutor(8) as clients:
        responses = list(clients.map(server.post, bodies))
    for response, image in zip(responses, images, strict=True):
        assert_equals_predictor(response, predictor, image, THRESHOLD)


def test_a_header_can_not_order_the_handler_about(server: Server, case: Case) -> None:
    """TorchServe's BaseHandler fails a whole batch when a client sends this one."""
    request = urllib.request.Request(server.url, request_body(case.image), {"describe": "True"})
    request.add_header("Content-Type", "application/json")
    assert send(request).status == 200
