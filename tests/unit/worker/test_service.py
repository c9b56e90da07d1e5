"""The worker's service without a web server: fields and headers in, statuses, headers and bodies out."""

import base64
import gc
import io
import json
import logging
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tifffile
import torch
from jsonschema import Draft202012Validator
from PIL import Image
from tensormask_server import PredictionOptions, Predictor, load_predictor
from tensormask_server.openapi.document import openapi_document
from tensormask_server.options import HandlerOptions, handler_options
from tensormask_server.prediction import image_masks
from tensormask_server.prediction.detectron2_engine import Detectron2Engine
from tensormask_server.request_log import RequestLog
from tensormask_server.requests.parsing import Request, parse_request
from tensormask_server.responses.result import Model
from tensormask_server.worker import service as worker_service
from tensormask_server.worker.metrics import COUNTERS, HISTOGRAMS, PARTS, Measurement
from tensormask_server.worker.page import try_it_page
from tensormask_server.worker.service import RawRequest, Response, Service

from reference.cases import load_case, write_weights
from tests.waiting import PATIENCE

CASE = load_case("tiny")
BODY = json.dumps({"img_data": CASE.image.transpose(2, 0, 1).tolist()}).encode()


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load_predictor(CASE.config, write_weights(CASE, tmp_path_factory.mktemp("weights") / "tiny.pkl"))


@pytest.fixture
def recorded() -> list[Measurement]:
    return []


@pytest.fixture
def service(predictor: Predictor, recorded: list[Measurement]) -> Service:
    names = tuple(f"class {number}" for number in range(predictor.config.head.num_classes))
    page = try_it_page("tiny", names, HandlerOptions(), predictor.config)
    return Service(predictor, Model("tiny", names, "0123"), HandlerOptions(), page, recorded.append)


def respond(service: Service, *requests: dict[str, Any], **options: Any) -> list[Response]:
    """The responses to a batch of fields, by a service with these options."""
    return replace(service, options=handler_options({**service.options.section(), **options})).respond(
        [RawRequest(each, {}) for each in requests]
    )


def png(height: int, width: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("archive_has_tiles", [True, False])
def test_tiles_by_request_and_by_archive(service: Service, predictor: Predictor, archive_has_tiles: bool) -> None:
    tiles = {} if archive_has_tiles else {"tile_size": b"96", "tile_overlap": b"0.3", "tile_whole": b"false"}
    archive = {"tile_size": 96, "tile_overlap": 0.3, "tile_whole": False} if archive_has_tiles else {}
    common = {"body": png(150, 130), "score_threshold": b"0.1"}
    [in_tiles, whole] = respond(service, {**common, **tiles}, {**common, "tile_size": b"none"}, **archive)
    image = np.array(Image.open(io.BytesIO(common["body"])))
    for response, options in ((in_tiles, {"tile_size": 96, "tile_overlap": 0.3, "tile_whole": False}), (whole, {})):
        [expected] = predictor([image], PredictionOptions(0.1, **options))
        scores = [each["score"] for each in json.loads(response.body)["instances"]]
        assert scores == pytest.approx(expected.scores.tolist(), abs=1e-5)
    assert in_tiles.body != whole.body


def test_tiles_that_take_too_long_are_refused_and_the_others_of_the_batch_are_answered(service: Service) -> None:
    """TorchServe would end the worker."""
    in_tiles = {"body": png(150, 130), "tile_size": b"64"}
    slow, whole = respond(replace(service, tile_seconds=0.0), in_tiles, {"body": png(150, 130)})
    assert (slow.status, whole.status) == (400, 200)
    assert json.loads(slow.body)["error"] == "the tiles of the request, or merging their detections, take more than 0 s"
    [in_time] = respond(service, in_tiles)
    assert in_time.status == 200


def test_too_many_tiles_are_refused_before_anything_is_decoded(service: Service) -> None:
    cut = png(150, 130)[:200]  # its header is whole
    [response] = respond(service, {"body": cut, "tile_size": b"32"}, max_tiles=5)
    assert response.status == 400
    assert json.loads(response.body)["error"] == "the request has 31 tiles, more than the 5 allowed"


LARGE = {"max_pixels": 9300, "largest_image": 20_000, "max_side": 100}  # of 150×130 pixels, tiles may have 96×96


@pytest.mark.parametrize("tile_size", ["none", "96"])
@pytest.mark.parametrize("format", ["coco", "csv", "cutouts", "polygons"])
def test_a_large_image_has_the_response_of_any_other(service: Service, format: str, tile_size: str) -> None:
    """Although it never becomes one array."""
    fields = {"body": png(150, 130), "score_threshold": b"0.1", "format": format.encode()}
    fields |= {"tile_size": tile_size.encode()}
    fields |= {"image_data": b"none"} if format == "polygons" else {}
    [expected] = respond(service, fields)
    [response] = respond(service, fields, **LARGE)
    assert response.status == 200
    assert int(response.headers["X-Instance-Count"]) > 0
    assert response.body == expected.body


def test_a_block_that_is_damaged_fails_its_request_only(service: Service) -> None:
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (150, 130, 3), np.uint8)
    tifffile.imwrite(content, pixels, tile=(32, 32), compression="deflate")
    with tifffile.TiffFile(io.BytesIO(content.getvalue())) as file:
        start, count = file.pages[0].dataoffsets[-1], file.pages[0].databytecounts[-1]
    damaged = content.getvalue()[:start] + bytes(count) + content.getvalue()[start + count :]
    good = {"body": png(150, 130), "tile_size": b"96"}
    [bad, other] = respond(service, {**good, "body": damaged}, good, **LARGE)
    assert (bad.status, other.status) == (400, 200)
    assert "can't read the image" in json.loads(bad.body)["error"]


def test_masks_that_span_too_much_fail_their_request_only(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_masks, "MOST_PIXELS", 5000)
    tiled = {"body": png(150, 130), "tile_size": b"96", "score_threshold": b"0.1"}
    [large, small] = respond(service, tiled, {"body": png(32, 32), "max_detections": b"1"}, **LARGE)
    assert (large.status, small.status) == (400, 200)
    assert "the masks span more than" in json.loads(large.body)["error"]


def test_a_large_image_is_not_seen_as_a_whole_by_a_network_that_reduces_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = cast(Predictor, service.engine).network
    unreduced = replace(network.config, input=replace(network.config.input, min_size=0))
    monkeypatch.setattr(network, "config", unreduced)
    fields = {"body": png(150, 130), "tile_size": b"96"}
    untiled, whole, parts = respond(
        service, {"body": fields["body"]}, fields, {**fields, "tile_whole": b"false"}, **LARGE
    )
    assert (untiled.status, whole.status, parts.status) == (400, 400, 200)
    for refused in (untiled, whole):
        assert "this network doesn't reduce images" in json.loads(refused.body)["error"]
        assert "a tile_size, and tile_whole of false" in json.loads(refused.body)["expected"]


def test_each_request_of_a_batch_has_its_own_response(service: Service) -> None:
    responses = respond(service, {"body": BODY}, {"body": b"{"}, {}, {"data": BODY, "format": b"coco"})
    assert [each.status for each in responses] == [200, 400, 400, 200]
    gzip, json_type = "application/gzip", "application/json"
    assert [each.headers["Content-Type"] for each in responses] == [gzip, json_type, json_type, json_type]
    count = len(json.loads(responses[3].body)["instances"])
    assert count > 0
    assert [each.headers["X-Instance-Count"] for each in responses] == [str(count), "0", "0", str(count)]
    assert all("decode;dur=" in each.headers["Server-Timing"] for each in (responses[0], responses[3]))
    assert json.loads(responses[1].body).keys() == {"error", "expected"}


def test_the_requests_of_a_batch_are_decoded_side_by_side(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(2)

    def parsed(*arguments: Any) -> Request:
        meeting.wait(PATIENCE)  # one after the other they would never meet
        return parse_request(*arguments)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(worker_service, "parse_request", parsed)
    first, second = respond(service, {"body": BODY}, {"body": BODY})
    assert (first.status, second.status) == (200, 200)
    assert first.body == second.body


def grey_12_bits() -> bytes:
    content = io.BytesIO()
    Image.fromarray(CASE.image[..., 0].astype(np.uint16) << 4).save(content, "PNG")
    return content.getvalue()


STRETCHED = f"values from 0 to {int(CASE.image[..., 0].max()) << 4} were stretched to 0 to 255 (stretch=auto)"


@pytest.mark.parametrize("format", [b"png", b"npz", b"coco", b"polygons"])
def test_the_response_says_how_the_image_was_decoded(service: Service, format: bytes) -> None:
    noted, plain = respond(
        service,
        {"body": grey_12_bits(), "format": format},
        {"body": grey_12_bits(), "format": format, "stretch": b"none"},
    )
    assert noted.headers["X-Image-Note"] == STRETCHED
    assert "X-Image-Note" not in plain.headers
    if format in (b"coco", b"polygons"):
        assert json.loads(noted.body)["notes"] == [STRETCHED]
        assert "notes" not in json.loads(plain.body)


def test_of_several_images_each_has_its_own_notes(service: Service) -> None:
    encoded = base64.b64encode(grey_12_bits()).decode()
    images = [{"image": encoded}, {"image": encoded, "stretch": "none"}, {"image": encoded, "stretch": "min-max"}]
    [response] = respond(service, {"body": json.dumps({"instances": images}).encode()})
    first, second, third = json.loads(response.body)["predictions"]
    assert first["notes"] == [STRETCHED]
    assert "notes" not in second
    assert third["notes"][0].endswith("(stretch=min-max)")
    assert "X-Image-Note" not in response.headers


def test_values_that_do_not_fit_are_refused_with_what_to_do(service: Service) -> None:
    content = io.BytesIO()
    Image.fromarray(np.array([[-3, 70000]], np.int32)).save(content, "TIFF")
    refused, read = respond(
        service, {"body": content.getvalue()}, {"body": content.getvalue(), "stretch": b"min-max", "format": b"coco"}
    )
    assert refused.status == 400
    error = json.loads(refused.body)
    assert "from -3 to 70000" in error["error"]
    assert "min-max" in error["expected"]
    assert read.status == 200
    assert read.headers["X-Image-Note"] == "values from -3 to 70000 were stretched to 0 to 255 (stretch=min-max)"


def test_a_browser_gets_the_page(service: Service) -> None:
    [response] = service.respond([RawRequest({}, {"Accept": "text/html,*/*"}, "42")])
    assert (response.status, response.body) == (200, service.page.html)
    assert response.headers == {
        "Content-Type": "text/html; charset=utf-8",
        "X-Request-ID": "42",
        "Content-Security-Policy": service.page.content_security_policy,
    }


def test_the_servers_threshold_holds_where_a_request_has_none(service: Service) -> None:
    coco = {"body": BODY, "format": b"coco"}
    [all_of_them] = respond(service, coco, score_threshold=0.0)
    scores = [each["score"] for each in json.loads(all_of_them.body)["instances"]]
    middle = float(np.mean(sorted(set(scores))[len(set(scores)) // 2 :][:2]))  # between two: a response rounds them
    [best] = respond(service, coco, score_threshold=middle)
    assert [each["score"] for each in json.loads(best.body)["instances"]] == [each for each in scores if each > middle]
    [own] = respond(service, {**coco, "score_threshold": b"0"}, score_threshold=middle)
    assert json.loads(own.body) == json.loads(all_of_them.body)


def test_a_response_larger_than_allowed_is_a_400(service: Service) -> None:
    [response] = respond(service, {"body": BODY}, max_response_bytes=1000)
    assert response.status == 400
    assert "more than the 1000 allowed" in json.loads(response.body)["error"]
    assert "score_threshold" in json.loads(response.body)["expected"]


def test_cutouts_of_more_pixels_than_bytes_are_allowed_are_a_400(service: Service) -> None:
    [response] = respond(service, {"body": BODY, "format": b"cutouts"}, max_response_bytes=1000)
    assert response.status == 400
    assert "pixels, more than the 1000 bytes that a response may have" in json.loads(response.body)["error"]


def test_responses_of_a_batch_that_are_too_large_together_are_a_503(service: Service) -> None:
    good = {"body": BODY}
    [response] = respond(service, good)
    responses = respond(service, good, good, good, max_response_bytes=2 * len(response.body) + 9)
    assert [each.status for each in responses] == [200, 200, 503]
    assert json.loads(responses[2].body)["expected"].startswith("the same request again in a moment")


def test_an_option_that_the_engine_can_not_honour_is_a_400_before_the_network_runs(service: Service) -> None:
    no_network = torch.nn.Module()  # whatever runs it fails
    service.engine = Detectron2Engine(no_network, None, service.engine.config, torch.device("cpu"), 0.0)
    [response] = respond(service, {"body": BODY, "nms_threshold": b"0.4"})
    assert response.status == 400
    assert json.loads(response.body)["error"].startswith(
        "nms_threshold is 0.4, which the engine detectron2 doesn't support"
    )
    [response] = respond(service, {"body": BODY})
    assert response.status == 500


def test_a_batch_is_measured(service: Service, recorded: list[Measurement]) -> None:
    responses = respond(service, {"body": BODY}, {"body": BODY, "max_detections": b"-1"}, {"body": BODY})
    found = sum(int(response.headers["X-Instance-Count"]) for response in responses)
    by_name: dict[str, list[Measurement]] = {name: [] for name in (*HISTOGRAMS, *COUNTERS)}
    for measurement in recorded:
        by_name[measurement.name].append(measurement)
    assert all(len(by_name[name]) == 2 for name in HISTOGRAMS)  # one for each request with results
    timed = responses[0].headers["Server-Timing"]
    assert tuple(part.partition(";")[0] for part in timed.split(", ")) == PARTS  # each part has a histogram
    counted = {name: sum(each.value for each in by_name[name]) for name in COUNTERS}
    height, width = CASE.image.shape[:2]
    assert counted == {
        "tensormask_images_total": 2,
        "tensormask_pixels_total": 2 * height * width,
        "tensormask_instances_total": found,
        "tensormask_batches_total": 1,
        "tensormask_bad_requests_total": 1,
    }
    [bad] = by_name["tensormask_bad_requests_total"]
    assert bad.labels == ("tiny", "option")


def test_each_request_has_a_line_in_the_log_of_requests(service: Service, tmp_path: Path) -> None:
    service.request_log = RequestLog(tmp_path / "log")
    requests = [
        RawRequest({"body": BODY, "format": b"coco"}, {"X-Request-ID": "mine"}, "theirs"),
        RawRequest({"body": b"{"}, {}, "theirs"),
        RawRequest({}, {"Accept": "text/html"}),
    ]
    responses = service.respond(requests)
    good, bad, page = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [each["id"] for each in (good, bad, page)] == [each.headers["X-Request-ID"] for each in responses]
    assert [good["id"], bad["id"]] == ["mine", "theirs"]
    assert [each["status"] for each in (good, bad, page)] == [200, 400, 200]
    assert [each["bytes_out"] for each in (good, bad, page)] == [len(each.body) for each in responses]
    assert (good["format"], good["images"], good["bytes_in"]) == ("coco", 1, len(BODY) + 4)
    assert good["instances"] == len(json.loads(responses[0].body)["instances"])
    assert tuple(good["milliseconds"]) == PARTS
    assert (bad["error"], bad["reason"]) == (json.loads(responses[1].body)["error"], "body")
    assert (page["error"], page["format"], page["model"]) == (None, None, "tiny")


def test_a_batch_without_an_image_does_not_run_the_network(service: Service, recorded: list[Measurement]) -> None:
    service.engine = Detectron2Engine(torch.nn.Module(), None, service.engine.config, torch.device("cpu"), 0.0)
    assert [each.status for each in respond(service, {}, {})] == [400, 400]
    assert {each.name for each in recorded} == {"tensormask_bad_requests_total"}


# --- memory -----------------------------------------------------------------------------------------------------------

REFUSED = {
    "JSON": b'{"img_data": [[[1, 2], [3]], [[1]], [[2]]]}',
    "a key twice": b'{"image": "", "image": ""}',
    "not JSON": b"[1",
    "instances": b'{"instances": [{"image": "!"}]}',
    "inputs": b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["!"]}]}',
    "image": b"\x89PNG\r\n\x1a\n",
    "half an image": png(60, 80)[:9000],
    "pixels": png(1100, 1000),  # more than max_pixels
    "nothing": b"",
    "response": BODY,  # more bytes than max_response_bytes
    "format": b'{"instances": [{"img_data": [[[1]], [[2]], [[3]]]}], "format": "png"}',
}


@pytest.fixture
def no_collector() -> Iterator[None]:
    """References alone decide what is freed; Python's search for cycles may come much later."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_request_leaves_nothing_in_memory(service: Service, name: str) -> None:
    class Body(bytearray):
        """One that can be watched."""

    body = Body(REFUSED[name])
    watched = weakref.ref(body)
    [response] = respond(service, {"body": body}, max_response_bytes=1000, max_pixels=1 << 20)
    assert response.status == 400
    del body
    assert watched() is None


@pytest.mark.usefixtures("no_collector")
def test_a_failed_batch_is_out_of_the_memory_before_its_requests_run_alone(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest keeps what is logged, errors and their tracebacks included
    monkeypatch.setattr(logging.getLogger("tensormask_server.worker.service"), "disabled", True)
    failed: list[weakref.ref[torch.Tensor]] = []

    def fail_once(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if not failed:
            failed.append(weakref.ref(inputs[0]))
            raise RuntimeError("out of memory")
        assert failed[0]() is None

    hook = service.engine.network.get_submodule("head.cls_subnet.0").register_forward_pre_hook(fail_once)
    try:
        responses = respond(service, {"body": BODY}, {"body": BODY})
    finally:
        hook.remove()
    assert failed
    assert [each.status for each in responses] == [200, 200]


def test_a_model_describes_itself_to_who_accepts_its_description(service: Service) -> None:
    """A request that has lost its body, and accepts JSON as most clients do, stays an error."""
    described = replace(service, model=replace(service.model, weights_bytes=7), options=HandlerOptions(about="shapes"))
    [response] = described.respond([RawRequest({"body": b""}, {"accept": "application/vnd.tensormask.model+json"})])
    assert (response.status, response.headers["Content-Type"]) == (200, "application/vnd.tensormask.model+json")
    content = json.loads(response.body)
    document = openapi_document()
    schema = {"$ref": "#/components/schemas/Model", "components": document["components"]}
    Draft202012Validator(schema).validate(content)
    assert (content["name"], content["about"], content["weights_bytes"]) == ("tiny", "shapes", 7)
    assert content["classes"] == [f"class {number}" for number in range(5)]
    [lost] = service.respond([RawRequest({"body": b""}, {"accept": "application/json, text/plain, */*"})])
    assert lost.status == 400
    image = RawRequest({"body": png(60, 80)}, {"accept": "application/vnd.tensormask.model+json"})
    assert json.loads(service.respond([image])[0].body)["width"] == 80
