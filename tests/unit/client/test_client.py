"""The client's reading and writing against pycocotools and Pillow, and its patience with a server that is busy."""

import io
import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as rle
from tensormask_server.client import (
    BadImage,
    Busy,
    Client,
    Lost,
    Refused,
    Unreachable,
    WrongServer,
    WrongToken,
    encode_png,
    image_bytes,
)
from tensormask_server.client.__main__ import main
from tensormask_server.instances import decode_mask

from tests.waiting import wait_for

RESPONSE = json.dumps({"instances": [], "width": 2, "height": 1, "model": "m", "weights_sha256": "0"}).encode()
PIXEL = np.zeros((1, 2, 3), np.uint8)
AT_ONCE = (0.0, 0.0)  # waits

masks = arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))
images = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda size: arrays(np.uint8, (*size, 3)))


@given(mask=masks)
def test_run_lengths_are_read_as_pycocotools_writes_them(mask: np.ndarray) -> None:
    encoded = rle.encode(np.asfortranarray(mask).view(np.uint8))
    decoded = decode_mask(encoded["counts"].decode(), *encoded["size"])
    np.testing.assert_array_equal(decoded, mask)


@given(image=images)
def test_the_png_is_the_array(image: np.ndarray) -> None:
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(encode_png(image)))), image)


@pytest.mark.parametrize("image", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3)), np.zeros((0, 2, 3), np.uint8)])
def test_another_array_is_refused(image: np.ndarray) -> None:
    with pytest.raises(BadImage, match=r"expected uint8 \(H, W, 3\), RGB"):
        encode_png(image)


def test_neither_torch_nor_pillow_is_imported() -> None:
    code = "import sys, tensormask_server.client; print({'torch', 'PIL', 'ts'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


@contextmanager
def answering(*responses: tuple[int, bytes] | None, port: int = 0) -> Iterator[str]:
    """A server that gives these responses in turn, None by closing the connection; the last one for ever."""
    left = list(responses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            response = left.pop(0) if len(left) > 1 else left[0]
            if response is None:
                self.close_connection = True
                return
            self.send_response(response[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(response[1])))
            self.end_headers()
            self.wfile.write(response[1])

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/predictions/x"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_busy_server_and_a_broken_connection_are_tried_again() -> None:
    with answering((503, b"{}"), None, (200, RESPONSE)) as url:
        assert len(Client(url, waits=AT_ONCE).predict(PIXEL)) == 0


@pytest.mark.parametrize("status", [500, 507])
def test_a_request_whose_worker_died_is_repeated_but_not_for_ever(status: int) -> None:
    died = (status, b'{"code": 500, "type": "InternalServerException", "message": "Worker died."}')
    with answering(died, died, (200, RESPONSE)) as url:
        assert len(Client(url, waits=AT_ONCE).predict(PIXEL)) == 0
    with answering(died, died, died, (200, RESPONSE)) as url, pytest.raises(Lost, match=f"{status} Worker died"):
        Client(url, waits=(*AT_ONCE, *AT_ONCE)).predict(PIXEL)


def test_no_response_at_all_is_a_lost_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}/predictions/x", waits=AT_ONCE, timeout=0.1)
        with pytest.raises(Lost, match=r"the server sent no response in 0\.1 s"):
            client.predict(PIXEL)


def test_a_server_that_is_started_anew_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with ThreadPoolExecutor(1) as pool:
        with answering(None) as url:
            future = pool.submit(Client(url, waits=(0.1,) * 3000).predict, PIXEL)
            wait_for(lambda: caplog.records, "the client to report the broken connection")
        wait_for(lambda: "no server answers" in caplog.text, "the client to report that nobody answers")
        with answering((200, RESPONSE), port=urlsplit(url).port or 0):
            assert len(future.result()) == 0


def test_a_server_that_stays_busy_is_reported() -> None:
    with (
        answering((503, b'{"message": "queue full"}')) as url,
        pytest.raises(Busy, match="503 queue full, 3 times"),
    ):
        Client(url, waits=AT_ONCE).predict(PIXEL)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_a_proxy_says_of_a_server_that_is_gone_is_not_the_last_word(status: int) -> None:
    with answering((status, b"<html><h1>a proxy</h1></html>"), (200, RESPONSE)) as url:
        assert len(Client(url, waits=AT_ONCE).predict(PIXEL)) == 0


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (400, b'{"error": "no", "expected": "yes"}', Refused, "400 no; expected yes"),
        (413, b"", Refused, "413 the image has 0.0 MB, more than .* max_request_size"),
        (
            400,
            b'{"type": "InvalidKeyException", "message": "no"}',
            WrongToken,
            "requires a token: 400 no; expected the",
        ),
        (404, b'{"message": "Model not found"}', WrongServer, "404 Model not found"),
        (500, b"", Refused, "500 Internal Server Error"),
        (200, b"<html>", WrongServer, "something else than this server's responses"),
        (200, b'{"instances": [{}]}', WrongServer, "something else than this server's responses"),
    ],
)
def test_any_other_response_is_an_error(status: int, body: bytes, error: type[Exception], message: str) -> None:
    with answering((status, body)) as url, pytest.raises(error, match=message):
        Client(url, waits=()).predict(PIXEL)


def test_an_absent_server_is_an_error() -> None:
    with answering((200, RESPONSE)) as url:
        pass
    with pytest.raises(Unreachable, match="no server answers at"):
        Client(url, waits=AT_ONCE).predict(PIXEL)


def test_an_option_of_several_lines_is_refused() -> None:
    with pytest.raises(ValueError, match=r"classes is 'cat\\ndog'; expected a line of text"):
        Client("http://127.0.0.1:9").predict(b"image", classes="cat\ndog")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="'treshold' is not an option; expected score_threshold"):
        Client("http://127.0.0.1:9").predict(PIXEL, treshold=1)  # type: ignore[call-arg]


def test_wrong_usage_is_reported(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--url", "http://127.0.0.1:9", "--out", "x"]) == 2
    assert "no images in" in capsys.readouterr().err
    assert main([str(tmp_path), "--url", "nowhere", "--out", "x"]) == 2
    assert "expected http://HOST:8080/MODEL/predict" in capsys.readouterr().err


@pytest.mark.parametrize("counts", ["", "~", "é", "P", "1", "11111"])
def test_run_lengths_of_another_mask_are_refused(counts: str) -> None:
    with pytest.raises(ValueError):
        decode_mask(counts, 2, 2)


def test_the_error_for_an_image_of_pillow_says_what_is_expected() -> None:
    with pytest.raises(BadImage, match=r"the image is Image; expected a path.*numpy.asarray"):
        image_bytes(Image.new("RGB", (4, 4)))
