"""What a client gets for a bad request: a 400 that says what to do, and nobody else notices."""

import io
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from reference.cases import Case
from tests.served.conftest import ROOT, Server, request_body

PIXEL = [[[1]], [[2]], [[3]]]


def zeros(height: int, width: int) -> bytes:
    """The JSON of a black image, spelt as widely as json.dumps does."""
    row = b"[" + b", ".join([b"0"] * width) + b"]"
    plane = b"[" + b", ".join([row] * height) + b"]"
    return b'{"threshold": 1, "img_data": [' + b", ".join([plane] * 3) + b"]}"


def black(height: int, width: int) -> bytes:
    """The same as a PNG, of a few kilobytes."""
    content = io.BytesIO()
    Image.new("L", (width, height)).save(content, "PNG")
    return content.getvalue()


BAD_BODIES: dict[str, tuple[bytes | str, str]] = {
    "empty": (b"", "no body"),
    "not JSON": (b"an image", "neither an image in a supported file format nor JSON"),
    "a JPEG's beginning": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "the image"),
    "other bytes": (b"\x00\xff\xfe", "neither JSON nor an image"),
    "truncated": (b'{"img_data": [[[1, 2], [3', "not JSON"),
    "deep": (b"[" * 100_000, "nested too deep"),
    "an array": (b"[1, 2]", "a JSON array"),
    "no img_data": (b"{}", "no img_data"),
    "another key": (json.dumps({"image_data": PIXEL}), "did you mean img_data?"),
    "a key twice": (b'{"img_data": [[[1]], [[2]], [[3]]], "img_data": 1}', "twice"),
    "a number": (json.dumps({"img_data": 7}), "img_data is 7"),
    "null": (json.dumps({"img_data": None}), "img_data is null"),
    "empty list": (json.dumps({"img_data": []}), "img_data is empty"),
    "no rows": (json.dumps({"img_data": [[], [], []]}), "img_data is empty"),
    "no pixels": (json.dumps({"img_data": [[[]], [[]], [[]]]}), "img_data is empty"),
    "two axes": (json.dumps({"img_data": [[1, 2], [3, 4]]}), "nested 2 deep"),
    "four axes": (json.dumps({"img_data": [PIXEL]}), "nested 4 deep"),
    "four channels": (json.dumps({"img_data": [*PIXEL, [[4]]]}), "4 channels"),
    "one channel": (json.dumps({"img_data": [[[1, 2], [3, 4]]]}), "1 channels"),
    "ragged rows": (json.dumps({"img_data": [[[1, 2], [3]], PIXEL[1], PIXEL[2]]}), "img_data[0][1] has length 1"),
    "ragged planes": (json.dumps({"img_data": [[[1], [2]], [[2]], [[3]]]}), "img_data[1] has length 1"),
    "ragged, same count": (json.dumps({"img_data": [[[1, 2], [3, 4]], [[1], [2, 3, 4]], PIXEL]}), "length 1"),
    "nested pixel": (json.dumps({"img_data": [[[[1]]], [[2]], [[3]]]}), "nested 4 deep"),
    "float": (json.dumps({"img_data": [[[1.5]], [[2]], [[3]]]}), "img_data[0][0][0] is 1.5"),
    "string": (json.dumps({"img_data": [[["1"]], [[2]], [[3]]]}), 'img_data[0][0][0] is "1"'),
    "NaN": (b'{"img_data": [[[NaN]], [[2]], [[3]]]}', "is NaN"),
    "true": (json.dumps({"img_data": [[[True]], [[2]], [[3]]]}), "is true"),
    "below 0": (json.dumps({"img_data": [[[-1]], [[2]], [[3]]]}), "is -1"),
    "above 255": (json.dumps({"img_data": [[[256]], [[2]], [[3]]]}), "is 256"),
    "huge number": (b'{"img_data": ' + b"9" * 5000 + b"}", "a number of too many digits"),
    "first row lies": (json.dumps({"img_data": [[[0] * 99999], *[[]] * 99999]}), "length 0"),
    "threshold": (json.dumps({"img_data": PIXEL, "threshold": 1.5}), "threshold is 1.5"),
    "threshold text": (json.dumps({"img_data": PIXEL, "threshold": "high"}), 'threshold is "high"'),
    "channel order": (json.dumps({"img_data": PIXEL, "channel_order": "GBR"}), 'channel_order is "GBR"'),
    "lone surrogate": (b'{"img_data": [[[1]],[[2]],[[3]]], "\\ud800": 1}', "unknown key"),
    "too large": (black(4097, 4096), "more than the 16777216 allowed"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_gets_a_400_that_says_what_was_wrong(server: Server, name: str) -> None:
    body, said = BAD_BODIES[name]
    response = server.post(body if isinstance(body, bytes) else body.encode())
    assert (response.status, response.content_type) == (400, "application/json")
    assert said in response.error()["error"]
    assert response.error()["expected"]


def test_no_bad_body_costs_a_worker(server: Server) -> None:
    before = server.worker_pids()
    for body, _ in BAD_BODIES.values():
        server.post(body if isinstance(body, bytes) else body.encode(), None)
    assert server.worker_pids() == before


def test_one_pixel_is_an_image(server: Server) -> None:
    assert server.post(json.dumps({"img_data": PIXEL}).encode()).tensors()["pred_masks"].shape[1:] == (1, 1)


def test_channels_last_is_recognised(server: Server, case: Case) -> None:
    channels_last = server.post(json.dumps({"img_data": case.image.tolist()}).encode()).tensors()
    np.testing.assert_array_equal(
        channels_last["pred_masks"], server.post(request_body(case.image)).tensors()["pred_masks"]
    )


def test_in_a_batch_only_the_bad_request_fails(server: Server, case: Case) -> None:
    """Four requests at once make one batch: the server's batches wait for that."""
    good = request_body(case.image)
    with ThreadPoolExecutor(4) as clients:
        responses = list(clients.map(server.post, [good, b"{}", good, good]))
    assert [response.status for response in responses] == [200, 400, 200, 200]
    alone = server.post(good).tensors()
    for response in (responses[0], responses[2], responses[3]):
        np.testing.assert_array_equal(response.tensors()["pred_masks"], alone["pred_masks"])


def test_the_error_for_a_form_has_the_right_command(server: Server, case: Case) -> None:
    command = ["curl", "-sS", "-w", "%{http_code}", "-d", "@-", server.url]
    printed = subprocess.run(command, input=request_body(case.image), capture_output=True).stdout.decode()
    assert printed.endswith("400")
    assert "--data-binary" in json.loads(printed[:-3])["expected"]


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_another_method_does_no_harm(server: Server, method: str) -> None:
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, server.url]
    assert subprocess.run(command, capture_output=True).stdout == b"400"


def test_a_json_of_1333_by_1333_passes_and_one_over_the_limit_gets_a_413(server: Server) -> None:
    largest = zeros(1333, 1333).replace(b"0", b"255")  # the most bytes that such an image takes
    assert server.post(largest).status == 200
    limit = next(line for line in (ROOT / "config.properties").read_text().splitlines() if "max_request_size" in line)
    before = server.worker_pids()
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-", server.url]
    printed = subprocess.run(command, input=b" " * (int(limit.partition("=")[2]) + 1), capture_output=True).stdout
    assert printed == b"413"
    assert server.worker_pids() == before
