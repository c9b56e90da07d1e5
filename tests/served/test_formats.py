"""Image files as requests, options in every place, and responses in every format, over HTTP."""

import base64
import io
import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools import mask as rle
from tensormask_server import PredictionOptions, Predictor

from reference.cases import Case
from tests.served.conftest import THRESHOLD, Response, Server


@pytest.fixture
def image(case: Case, tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(case.image).save(path)
    return path


def curl(*arguments: object) -> tuple[Response, dict[str, str]]:
    """The response and its headers, their names in small letters."""
    command = ["curl", "-sS", "-i", "-H", "Expect:", *(str(argument) for argument in arguments)]
    head, _, body = subprocess.run(command, capture_output=True, check=True).stdout.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Response(int(status.split()[1]), headers.get("content-type"), body), headers


def base(server: Server) -> str:
    return f"http://127.0.0.1:{server.ports[0]}"


def spelt(arguments: tuple[str, ...], image: Path, server: Server) -> list[str]:
    return [each.replace("{}", str(image)).replace("{base}", base(server)) for each in arguments]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-T", "{}", "-H", "Tile-Size: 96", "-H", "Tile-Overlap: 0.3", "{base}/predictions/tiny"),
        ("-T", "{}", "{base}/tiny/predict?tile_size=96&tile_overlap=0.3"),
        ("-F", "data=@{}", "-F", "tile_size=96", "-F", "tile_overlap=0.3", "{base}/predictions/tiny"),
    ],
    ids=["headers", "query", "form"],
)
def test_a_request_has_tiles(
    server: Server, predictor: Predictor, case: Case, image: Path, arguments: tuple[str, ...]
) -> None:
    response, _ = curl(*spelt(arguments, image, server))
    [expected] = predictor([case.image], PredictionOptions(THRESHOLD, tile_size=96, tile_overlap=0.3))
    assert response.status == 200
    instances = json.loads(response.body)["instances"]
    assert [each["score"] for each in instances] == pytest.approx(expected.scores.tolist(), abs=1e-5)
    np.testing.assert_array_equal([rle.decode(each["segmentation"]) for each in instances], expected.masks)


def test_the_response_to_an_image_file_is_cocos_results(
    server: Server, predictor: Predictor, case: Case, image: Path
) -> None:
    response, headers = curl("-T", image, server.url)
    [expected] = predictor([case.image], THRESHOLD)
    assert (response.status, response.content_type) == (200, "application/json")
    content = json.loads(response.body)
    assert [each["score"] for each in content["instances"]] == pytest.approx(expected.scores.tolist(), abs=1e-5)
    masks = [rle.decode(each["segmentation"]) for each in content["instances"]]
    np.testing.assert_array_equal(masks, expected.masks)
    assert content["model"] == "tiny"
    assert len(content["weights_sha256"]) == 64
    assert headers["x-instance-count"] == str(len(expected))
    parts = [part.partition(";dur=") for part in headers["server-timing"].split(", ")]
    assert [name for name, _, _ in parts] == ["decode", "resize", "network", "masks", "encode"]
    assert all(float(milliseconds) >= 0 for _, _, milliseconds in parts)


@pytest.mark.parametrize(
    ("format", "content_type"),
    [
        ("torch", "application/gzip"),
        ("npz", "application/zip"),
        ("coco", "application/json"),
        ("png", "image/png"),
        ("labelmap", "image/png"),
        ("polygons", "application/json"),
        ("csv", "text/csv"),
        ("cutouts", "application/zip"),
    ],
)
def test_each_format_has_the_same_masks(
    server: Server, predictor: Predictor, case: Case, image: Path, format: str, content_type: str
) -> None:
    response, _ = curl("-T", image, f"{base(server)}/tiny/predict?format={format}")
    assert (response.status, response.content_type) == (200, content_type), response.body
    [expected] = predictor([case.image], THRESHOLD)
    assert expected.masks is not None
    if format == "torch":
        np.testing.assert_array_equal(response.tensors()["pred_masks"], expected.masks)
    elif format == "npz":
        np.testing.assert_array_equal(np.load(io.BytesIO(response.body))["pred_masks"], expected.masks)
    elif format == "coco":
        masks = [rle.decode(each["segmentation"]) for each in json.loads(response.body)["instances"]]
        np.testing.assert_array_equal(masks, expected.masks)
    elif format == "labelmap":
        labels = np.array(Image.open(io.BytesIO(response.body)))
        np.testing.assert_array_equal(labels > 0, expected.masks.any(axis=0))
    elif format == "png":
        assert Image.open(io.BytesIO(response.body)).size == case.image.shape[1::-1]
    elif format == "csv":
        table = pd.read_csv(io.BytesIO(response.body))
        assert table["area"].tolist() == expected.masks.sum(axis=(1, 2)).tolist()
        assert table["class"].tolist() == [f"class {number}" for number in expected.classes]
    elif format == "cutouts":
        with zipfile.ZipFile(io.BytesIO(response.body)) as archive:
            opaque = [np.array(Image.open(archive.open(name)))[..., 3] > 0 for name in archive.namelist()]
        sizes = [int(mask.sum()) for mask in expected.masks if mask.any()]
        assert [int(mask.sum()) for mask in opaque] == sizes
    else:
        labels_found = {shape["label"] for shape in json.loads(response.body)["shapes"]}
        assert labels_found == {f"class {number}" for number in expected.classes}


PLACES = {
    "query": ("-T", "{}", "{base}/tiny/predict?max_detections=1&format=npz"),
    "headers": ("-T", "{}", "-H", "Max-Detections: 1", "-H", "FORMAT: npz", "{base}/predictions/tiny"),
    "accept": ("-T", "{}", "-H", "X-max_detections: 1", "-H", "Accept: application/zip", "{base}/predictions/tiny"),
    "form": ("-F", "data=@{}", "-F", "max_detections=1", "-F", "format=npz", "{base}/predictions/tiny"),
}


@pytest.mark.parametrize("place", PLACES)
def test_options_count_wherever_they_stand(server: Server, image: Path, place: str) -> None:
    response, _ = curl(*spelt(PLACES[place], image, server))
    assert response.status == 200, response.body
    assert len(np.load(io.BytesIO(response.body))["scores"]) == 1


NAMED = {
    "query": ("-T", "{}", "{base}/tiny/predict?image_id=7&file_name=%C3%BC.jpg&format=csv&pixel_size=0.25um"),
    "headers": (
        *("-T", "{}", "-H", "Image-Id: 7", "-H", "File-Name: ü.jpg", "-H", "Accept: text/csv"),
        *("-H", "Pixel-Size: 0.25 µm", "{base}/predictions/tiny"),
    ),
    "form": (
        *("-F", "data=@{}", "-F", "image_id=7", "-F", "file_name=ü.jpg", "-F", "format=csv"),
        *("-F", "pixel_size=0.25 µm", "{base}/predictions/tiny"),
    ),
}


@pytest.mark.parametrize("place", NAMED)
def test_options_of_the_response_count_wherever_they_stand(server: Server, image: Path, place: str) -> None:
    response, _ = curl(*spelt(NAMED[place], image, server))
    assert (response.status, response.content_type) == (200, "text/csv"), response.body
    table = pd.read_csv(io.BytesIO(response.body))
    assert set(table["image_id"]) == {7}
    assert set(table["file_name"]) == {"ü.jpg"}
    np.testing.assert_allclose(table["area_um2"], table["area"] / 16)


def test_each_image_of_json_has_options_of_the_response(server: Server, image: Path) -> None:
    text = base64.b64encode(image.read_bytes()).decode()
    instances = [
        {"image": text, "image_id": 1, "file_name": "a.jpg"},
        {"image": text, "image_id": "2b", "format": "polygons", "tolerance": 3, "image_data": "none"},
        {"image": text, "format": "polygons", "tolerance": 0, "image_data": "none"},
    ]
    content = json.loads(server.post(json.dumps({"instances": instances}).encode()).body)["predictions"]
    assert {(each["image_id"], each["file_name"]) for each in content[0]["instances"]} == {(1, "a.jpg")}
    assert all(each["imageData"] is None for each in content[1:])
    points = [sum(len(shape["points"]) for shape in each["shapes"]) for each in content[1:]]
    assert 0 < points[0] < points[1] / 2
    refused = server.post(json.dumps({"instances": [{"image": text, "format": "csv"}]}).encode())
    assert (refused.status, refused.error()["expected"]) == (400, "format: coco or polygons")


def test_base64_in_json(server: Server, image: Path) -> None:
    body = json.dumps({"image": base64.b64encode(image.read_bytes()).decode(), "max_detections": 2}).encode()
    response = server.post(body)
    assert len(json.loads(response.body)["instances"]) == 2


@pytest.mark.parametrize("path", ["/v1/models/tiny:predict", "/predictions/tiny"])
def test_kserves_first_protocol(server: Server, image: Path, tmp_path: Path, path: str) -> None:
    text = base64.b64encode(image.read_bytes()).decode()
    (tmp_path / "v1.json").write_text(json.dumps({"instances": [{"b64": text}, {"image": text, "max_detections": 1}]}))
    response, _ = curl("--json", f"@{tmp_path / 'v1.json'}", base(server) + path)
    every, one = json.loads(response.body)["predictions"]
    alone, _ = curl("-T", image, server.url)
    for content, expected in ((every, json.loads(alone.body)["instances"]), (one, every["instances"][:1])):
        assert [each["segmentation"] for each in content["instances"]] == [each["segmentation"] for each in expected]
        scores = [each["score"] for each in content["instances"]]
        assert scores == pytest.approx([each["score"] for each in expected], abs=1e-5)


@pytest.mark.parametrize("path", ["/v2/models/tiny/infer", "/predictions/tiny"])
def test_the_open_inference_protocol(server: Server, case: Case, image: Path, tmp_path: Path, path: str) -> None:
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(case.image.shape), "data": case.image.tolist()}
    (tmp_path / "v2.json").write_text(json.dumps({"inputs": [tensor]}))
    response, _ = curl("--json", f"@{tmp_path / 'v2.json'}", base(server) + path)
    [output] = json.loads(response.body)["outputs"]
    alone, _ = curl("-T", image, server.url)
    assert [json.loads(text) for text in output["data"]] == [json.loads(alone.body)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-T", "{}", "{base}/tiny/predict?max_detection=1"), "did you mean max_detections?"),
        (("-T", "{}", "{base}/tiny/predict?format=gif"), 'format is "gif"'),
        (("-T", "{}", "{base}/tiny/predict?classes=unicorn"), '"unicorn", which is no class of this network'),
        (("-T", "{}", "{base}/tiny/predict?pixel_size=0.25"), 'pixel_size is "0.25"'),
        (("-T", "{}", "-H", "Holes: kep", "{base}/predictions/tiny"), "did you mean keep?"),
        (("-T", "{}", "-H", "score-threshold: 2", "{base}/predictions/tiny"), "score_threshold is 2"),
        (("-F", "upload=@{}", "{base}/predictions/tiny"), "expected it in one of data"),
        (("-F", "data=@{}", "-F", "mask_threshold=0", "{base}/predictions/tiny"), "mask_threshold is 0"),
    ],
)
def test_a_wrong_option_or_place_is_named(server: Server, image: Path, arguments: tuple[str, ...], said: str) -> None:
    response, headers = curl(*spelt(arguments, image, server))
    assert response.status == 400
    assert headers["x-instance-count"] == "0"
    assert headers["server-timing"].startswith("decode;dur=")
    assert said in response.error()["error"]
    assert response.error()["expected"]
