"""What the page knows about its model, and the answer to its first sample."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tensormask_server import Predictor, load_predictor
from tensormask_server.formats import FORMATS
from tensormask_server.options import HandlerOptions, Limits
from tensormask_server.responses.result import Model
from tensormask_server.sample_images import Sample, read_samples
from tensormask_server.worker.first_answer import first_answer
from tensormask_server.worker.metrics import Measurement
from tensormask_server.worker.page import Page, try_it_page
from tensormask_server.worker.service import Service

from reference.cases import load_case, write_weights

CASE = load_case("tiny")
NAMES = ("cat", "</script><script>document.title='run'</script>", "é", "<!--", "e")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load_predictor(CASE.config, write_weights(CASE, tmp_path_factory.mktemp("weights") / "tiny.pkl"))


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Sample, ...]:
    (tmp_path / "samples").mkdir()
    Image.fromarray(CASE.image).save(tmp_path / "samples" / "1-first.png")
    return read_samples(tmp_path / "samples")


def data_of(page: Page) -> dict[str, Any]:
    """As a browser reads it: up to the first end of a script element."""
    [text] = re.findall(r'<script type="application/json" id="server">(.*?)</script', page.html.decode(), re.DOTALL)
    data: dict[str, Any] = json.loads(text)
    return data


def test_it_has_the_models_classes_limits_and_defaults(predictor: Predictor) -> None:
    options = HandlerOptions(about="<i>two", score_threshold=0.3, tile_size=96, limits=Limits(largest_image=20_000_000))
    data = data_of(try_it_page("tiny", NAMES, options, predictor.config))
    assert data["classes"] == [*NAMES]
    assert (data["model"], data["about"], data["threshold"], data["tileSize"]) == ("tiny", "<i>two", 0.3, 96)
    assert (data["maxPixels"], data["largestImage"]) == (16_777_216, 20_000_000)
    assert (data["maxDetections"], data["mostDetections"]) == (predictor.config.detection.max_detections, 1000)
    assert [each["name"] for each in data["formats"]] == [*FORMATS]
    assert (data["samples"], data["answer"]) == ([], None)


@pytest.mark.parametrize(("threshold", "lowest"), [(0.5, 0.1), (0.05, 0.05)])
def test_the_page_requests_more_than_it_shows_at_first(predictor: Predictor, threshold: float, lowest: float) -> None:
    data = data_of(try_it_page("tiny", NAMES, HandlerOptions(score_threshold=threshold), predictor.config))
    assert (data["threshold"], data["lowestScore"]) == (threshold, lowest)


def test_a_network_without_masks_offers_no_formats_of_masks(tmp_path: Path) -> None:
    case = load_case("tiny-boxes-only")
    boxes_only = load_predictor(case.config, write_weights(case, tmp_path / "weights.pkl"))
    names = [f"class {number}" for number in range(boxes_only.config.head.num_classes)]
    data = data_of(try_it_page("boxes", names, HandlerOptions(), boxes_only.config))
    assert [each["name"] for each in data["formats"]] == [
        name for name, each in FORMATS.items() if not each.needs_masks
    ]


def test_the_first_sample_is_answered_as_a_request_is(predictor: Predictor, samples: tuple[Sample, ...]) -> None:
    recorded: list[Measurement] = []
    page = try_it_page("tiny", NAMES, HandlerOptions(), predictor.config)
    service = Service(predictor, Model("tiny", NAMES, "0123"), HandlerOptions(), page, recorded.append)
    answer = first_answer(service, samples[0])
    assert recorded == []
    assert answer is not None
    [expected] = predictor([CASE.image], 0.1)
    assert [each["score"] for each in json.loads(answer)["instances"]] == pytest.approx(
        expected.scores.tolist(), abs=1e-5
    )
    data = data_of(try_it_page("tiny", NAMES, HandlerOptions(), predictor.config, samples, answer))
    assert data["answer"] == json.loads(answer)
    [sample] = data["samples"]
    assert (sample["name"], sample["caption"], sample["type"]) == ("1-first.png", "first", "image/png")


def test_a_sample_that_the_server_refuses_has_no_answer(
    predictor: Predictor, samples: tuple[Sample, ...], caplog: pytest.LogCaptureFixture
) -> None:
    options = HandlerOptions(limits=Limits(max_pixels=100))
    page = try_it_page("tiny", NAMES, options, predictor.config)
    service = Service(predictor, Model("tiny", NAMES, "0123"), options, page, lambda _: None)
    assert first_answer(service, samples[0]) is None
    assert "the page shows no answer to the sample 1-first.png" in caplog.text
