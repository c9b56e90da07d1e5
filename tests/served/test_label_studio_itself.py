"""Label Studio itself, in an environment of its own: it fetches predictions from the gateway, and keeps their masks."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tensormask_server.instances import decode_mask

from examples.label_studio_project import connect, fetch_predictions, labelling_config, make_project, session, tasks
from examples.label_studio_server import LEGACY_KEY, LabelStudio, running
from examples.moving_drawings import DRAWINGS, scene
from tests.environments import python_with
from tests.pages import ROOT
from tests.served.conftest import Server
from tests.served.gateways import RunningGateway, gateway_of
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive

PACKAGE = "label-studio==1.23.0"
LABELS = sorted({drawing.name for drawing in DRAWINGS})
# in Label Studio's environment: decodes masks by its SDK, and encodes them again
DECODED = """
import json, sys
import numpy as np
from label_studio_sdk.converter.brush import decode_rle, mask2rle
regions = json.load(open(sys.argv[1]))
masks = []
for region in regions:
    size = region["original_height"], region["original_width"]
    channels = decode_rle(region["value"]["rle"]).reshape(*size, 4)
    assert (channels == channels[..., :1]).all()
    masks.append(channels[..., 3])
    again = mask2rle(channels[..., 3])
    own = region["value"]["rle"]
    assert again == own or again == own + [0]  # its encoder adds a byte where none is needed
np.save(sys.argv[2], np.array(masks))
"""


@dataclass(frozen=True)
class Place:
    """Label Studio with the gateway that it asks."""

    python: Path
    label_studio: LabelStudio
    gateway: RunningGateway
    images: Path  # a folder: one as it is, and one that its EXIF data turns

    def session(self) -> httpx.Client:
        return session(self.label_studio.url, self.label_studio.key)


@pytest.fixture(scope="module")
def place(
    demo_server: Server, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("label-studio")
    environment = folder / "environment"  # of a gigabyte, so it doesn't stay
    request.addfinalizer(partial(shutil.rmtree, environment))
    python = python_with(environment, PACKAGE)
    images = folder / "images"
    images.mkdir()
    pixels = scene(8, 24)[0][:300]  # of another height than width
    Image.fromarray(pixels).save(images / "0.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(pixels)).save(images / "1.jpg", quality=95, exif=exif)
    with running(python, folder / "server") as label_studio:
        key_file = folder / "key"
        key_file.write_text(label_studio.key)
        options = ("--label-studio", label_studio.url, "--label-studio-token-file", key_file)
        with gateway_of(demo_server, folder, *options) as gateway:
            yield Place(python, label_studio, gateway, images)


@pytest.fixture(scope="module")
def http(place: Place) -> Iterator[httpx.Client]:
    with place.session() as client:
        yield client


def project_of(place: Place, http: httpx.Client, tool: str) -> int:
    return make_project(http, tool, labelling_config(tool, LABELS), sorted(place.images.iterdir()))


def found_by_server(place: Place, image: Path, **options: str) -> dict[str, Any]:
    query = {"classes": ",".join(LABELS), **options}
    response = httpx.post(f"{place.gateway.url}/v1/segment", params=query, content=image.read_bytes(), timeout=PATIENCE)
    answer: dict[str, Any] = response.json()
    return answer


def decoded_by_sdk(place: Place, regions: list[dict[str, Any]], folder: Path) -> np.ndarray:
    """uint8 (N, H, W): what Label Studio's own package reads, 0 or 255."""
    (folder / "regions.json").write_text(json.dumps(regions))
    command = [place.python, "-c", DECODED, folder / "regions.json", folder / "masks.npy"]
    subprocess.run(command, check=True, timeout=PATIENCE)
    masks: np.ndarray = np.load(folder / "masks.npy")
    return masks


def check_masks(place: Place, image: Path, prediction: dict[str, Any], folder: Path) -> None:
    """Checks that a prediction has the server's masks, bit for bit."""
    found = found_by_server(place, image)
    instances = [each for each in found["instances"] if each["area"]]
    regions = prediction["result"]
    assert len(regions) > 2
    assert [each["value"]["brushlabels"] for each in regions] == [[each["category_name"]] for each in instances]
    assert [each["score"] for each in regions] == [each["score"] for each in instances]
    masks = decoded_by_sdk(place, regions, folder)
    height, width = found["height"], found["width"]
    assert masks.shape[1:] == (height, width) == (300, 384)
    expected = [decode_mask(each["segmentation"]["counts"], height, width) for each in instances]
    np.testing.assert_array_equal(masks, 255 * np.array(expected))


def test_the_masks_that_label_studio_keeps_are_the_servers_bit_for_bit(
    place: Place, http: httpx.Client, tmp_path: Path
) -> None:
    project = project_of(place, http, "BrushLabels")
    backend = connect(http, project, place.gateway.url)
    fetch_predictions(http, project)
    for image, task in zip(sorted(place.images.iterdir()), tasks(http, project), strict=True):
        [prediction] = task["predictions"]
        assert prediction["model_version"].startswith("demo-")
        check_masks(place, image, prediction, tmp_path)
        answer = http.post(f"/api/ml/{backend}/interactive-annotating", json={"task": task["id"]}).json()
        check_masks(place, image, answer["data"], tmp_path)
    state = http.get(f"/api/ml/{backend}").json()
    assert state["readable_state"] == "Connected"
    assert http.get(f"/api/ml/{backend}/versions").json() == {"versions": [state["model_version"]]}
    fetch_predictions(http, project)  # it asks for no task that has a prediction of this version
    assert [len(task["predictions"]) for task in tasks(http, project)] == [1, 1]


def test_polygons_come_through_label_studio(place: Place, http: httpx.Client) -> None:
    project = project_of(place, http, "PolygonLabels")
    connect(http, project, f"{place.gateway.url}/label-studio/demo")
    fetch_predictions(http, project)
    for image, task in zip(sorted(place.images.iterdir()), tasks(http, project), strict=True):
        [prediction] = task["predictions"]
        shapes = found_by_server(place, image, format="polygons", image_data="none")["shapes"]
        assert len(shapes) > 2
        for region, shape in zip(prediction["result"], shapes, strict=True):
            points = np.array(region["value"]["points"]) * [384, 300] / 100
            np.testing.assert_allclose(points, shape["points"], atol=1e-9)


def test_label_studio_says_why_a_backend_does_not_fit(place: Place, http: httpx.Client) -> None:
    config = labelling_config("BrushLabels", ["no such class"])
    project = make_project(http, "no class", config, [])
    with pytest.raises(httpx.HTTPStatusError) as raised:
        connect(http, project, place.gateway.url)
    assert raised.value.response.status_code == 400
    said = raised.value.response.text
    assert "no label of the project is a class of the network: the labels are 'no such class'" in said
    assert "'apple'" in said


def test_a_legacy_token_works_where_the_organization_allows_it(
    place: Place, http: httpx.Client, demo_server: Server, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(LEGACY_KEY)
    options = ("--label-studio", place.label_studio.url, "--label-studio-token-file", tmp_path / "key")
    with gateway_of(demo_server, tmp_path, *options) as gateway:
        project = project_of(place, http, "RectangleLabels")
        connect(http, project, gateway.url)
        fetch_predictions(http, project)
        assert [task["predictions"] for task in tasks(http, project)] == [[], []]  # it isn't allowed by default
        allowed = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True, "api_token_ttl_days": 200}
        place.label_studio.browser.post("/api/jwt/settings", json=allowed).raise_for_status()
        fetch_predictions(http, project)
        for task in tasks(http, project):
            [prediction] = task["predictions"]
            assert {each["type"] for each in prediction["result"]} == {"rectanglelabels"}


def test_the_example_makes_a_project_and_fetches_its_predictions(place: Place) -> None:
    words = [place.label_studio.url, place.gateway.url, place.images, "--labels", ",".join(LABELS)]
    command = [sys.executable, ROOT / "examples/label_studio_project.py", *words]
    environment = {**os.environ, "LABEL_STUDIO_API_KEY": place.label_studio.key}
    result = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("2 predictions for 2 images: ")
    without = subprocess.run(list(map(str, command)), env={}, capture_output=True, text=True, timeout=PATIENCE)
    assert "LABEL_STUDIO_API_KEY is missing" in without.stderr
