"""A client of the server: a picture in, what was found on it out, with patience where the server is busy."""

import gzip
import http.client
import io
import json
import pickle
import time
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from tensormask_server import Detections

TIMEOUT = 600  # seconds; the server gives a request up long before
WAITS = (0.5, 1, 2, 4, 8, 16, 32)  # seconds before each further try; a worker that has died is back by then
# four characters of JSON for each value, so that an array of values is its text: seven times faster than json.dumps
NUMBERS = np.array([f"{value:3}," for value in range(256)], "S4").view(np.uint32)


class NoAnswer(Exception):
    """The server doesn't answer this picture; why, in its own words."""


class Unreachable(Exception):
    """No server is there, in one line."""


@dataclass(frozen=True)
class Client:
    """What a program needs to have its pictures answered."""

    url: str  # of the model's predictions
    token: str | None = None  # of a server that wants one
    waits: tuple[float, ...] = WAITS

    def detect(self, picture: np.ndarray, threshold: float) -> Detections:
        """Posts a picture; again, after a while, where the server is too busy or ends the connection.

        Args:
            picture: uint8 (H, W, 3), RGB.
            threshold: things with scores above it are found.

        Raises:
            NoAnswer: the server answers with an error, or with something else than detections.
            Unreachable: nothing listens at the URL, or nothing comes back from it.
        """
        body = request_body(picture, threshold)
        for wait in self.waits:
            try:
                return read_answer(self._post(body))
            except _Busy:
                time.sleep(wait)
        try:
            return read_answer(self._post(body))
        except _Busy as error:
            raise NoAnswer(f"{error}, {len(self.waits) + 1} times") from error

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            told = f"{error.code} {_error_text(error.read())}"
            raise (_Busy(told) if error.code == 503 else NoAnswer(told)) from error
        except (OSError, http.client.HTTPException) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(cause, ConnectionResetError | BrokenPipeError | http.client.IncompleteRead):
                megabytes = len(body) / 1e6  # one that is over the server's limit looks like this, too
                raise _Busy(f"the server ended the connection on {megabytes:.1f} MB ({cause})") from error
            raise Unreachable(f"no server answers at {self.url}: {cause}") from error


class _Busy(Exception):
    """Worth another try."""


def request_body(picture: np.ndarray, threshold: float) -> bytes:
    """The server's JSON request for a picture, uint8 (H, W, 3), RGB."""
    planes = NUMBERS[picture.transpose(2, 0, 1)]  # (3, H, W) of four characters each, the last of them a comma
    rows = (b"],[".join(row.tobytes()[:-1] for row in plane) for plane in planes)
    return b'{"threshold":%s,"img_data":[[[%s]]]}' % (json.dumps(threshold).encode(), b"]],[[".join(rows))


def read_answer(body: bytes) -> Detections:
    """
    Raises:
        NoAnswer: it isn't an answer of this server.
    """
    try:
        with gzip.open(io.BytesIO(body)) as file:
            tensors = torch.load(io.BytesIO(file.read()), weights_only=True)
        return Detections(
            boxes=tensors["pred_boxes"].numpy(),
            scores=tensors["scores"].numpy(),
            classes=tensors["pred_classes"].numpy(),
            masks=tensors["pred_masks"].numpy() if "pred_masks" in tensors else None,
        )
    except (OSError, EOFError, zlib.error, RuntimeError, pickle.UnpicklingError, KeyError, TypeError) as error:
        raise NoAnswer(f"200, but with something else than detections: {body[:60]!r}") from error


def _error_text(body: bytes) -> str:
    """Ours stands in {"error": …}, TorchServe's own in {"message": …}."""
    try:
        content = json.loads(body)
        return str(content.get("error") or content["message"])
    except (ValueError, AttributeError, KeyError):
        return body[:200].decode(errors="replace") or "without a word"
