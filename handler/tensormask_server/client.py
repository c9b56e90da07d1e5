"""A client of the server: a picture in, what was found on it out. It needs numpy, and no torch.

python -m tensormask_server.client PICTURE… --out DIR has whole folders answered; client_command.py is that command.
"""

import json
import logging
import struct
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead
from pathlib import Path
from ssl import SSLCertVerificationError
from typing import TypedDict, Unpack
from urllib.parse import quote, urlsplit

import numpy as np

from tensormask_server.instances import Instances, read_instances

TIMEOUT = 600  # seconds; the server gives a request up long before
WAITS = (0.5, 1, 2, 4, 8, 16, 32)  # seconds before each further try; a worker that has died is back by then
LOST = 3  # tries that end a worker or get no answer, after which the picture is taken for the cause
CONTENT_TYPES = {
    "coco": "application/json",
    "png": "image/png",
    "labelmap": "image/png",
    "polygons": "application/json",
    "npz": "application/zip",
    "torch": "application/gzip",
}
EXPECTED_URL = "http://HOST:8080/predictions/MODEL"
EXPECTED_TRUST = (
    "to trust a certificate of your own name its file in the environment variable SSL_CERT_FILE, and call the server "
    "by a name that stands in it"
)
EXPECTED_TOKEN = (
    'the "inference" key of key_file.json, in the folder that the server was started from; it holds for 60 minutes'
)

logger = logging.getLogger(__name__)


class Options(TypedDict, total=False):
    """What to find; what isn't said, or is None, is the server's choice."""

    score_threshold: float | None  # 0…1; things with scores above it
    max_detections: int | None
    classes: str | int | Sequence[str | int] | None  # names, or the network's numbers from 0; these alone
    nms_threshold: float | None  # 0…1
    mask_threshold: float | None  # above 0, at most 1


@dataclass(frozen=True)
class Answer:
    """A server's answer to a picture."""

    body: bytes
    server_timing: str  # the header: part;dur=milliseconds, …; "" where there is none


@dataclass(frozen=True)
class Client:
    """Has pictures answered by a server; threads can share it."""

    url: str  # of a model: http://127.0.0.1:8080/predictions/tensormask
    token: str | None = None  # of a server that wants one
    waits: tuple[float, ...] = WAITS
    timeout: float = TIMEOUT  # seconds without a byte, after which a request is taken for lost

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise Unreachable(f"{self.url!r} is not the URL of a server; expected {EXPECTED_URL}")

    def predict(self, picture: str | Path | bytes | np.ndarray, **options: Unpack[Options]) -> Instances:
        """What the server finds on a picture.

        Args:
            picture: a file's path, such a file's bytes, or uint8 (H, W, 3), RGB.

        Raises:
            NoAnswer: this picture, with these options, isn't answered: BadPicture, Refused or Busy.
            Unreachable: no picture would be: nothing answers at the URL, or (WrongServer) something else than this
                server, or (WrongToken) it wants another token.
        """
        answer = self.answer(picture, "coco", **options)
        try:
            return read_instances(answer.body, answer.server_timing)
        except ValueError as error:
            raise WrongServer(f"{self.url} gives something else than this server's answers: {error}") from error

    def answer(self, picture: str | Path | bytes | np.ndarray, kind: str, **options: Unpack[Options]) -> Answer:
        """The answer in any of the server's formats, as it came; after a while, where the server is too busy, ends
        the connection, loses its worker or is started anew.

        Args:
            picture: as `predict` takes it.
            kind: of CONTENT_TYPES.

        Raises:
            NoAnswer, Unreachable: as `predict` does.
        """
        body = picture_bytes(picture)
        headers = {"Content-Type": "application/octet-stream", "Accept": CONTENT_TYPES[kind], "Format": kind}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token.strip()}"  # files of tokens end in a newline
        sent = {name: value.encode() for name, value in {**headers, **_option_headers(options)}.items()}
        failures: list[ClientError] = []
        for wait in self.waits:
            try:
                return self._post(body, sent)
            except ClientError as error:
                failures.append(error)
                if not _may_pass(failures):
                    raise
                logger.info("%s; trying again in %g s", error, wait)
            time.sleep(wait)
        try:
            return self._post(body, sent)
        except Busy as error:
            raise type(error)(f"{error}, {len(self.waits) + 1} times") from error

    def _post(self, body: bytes, headers: Mapping[str, bytes]) -> Answer:
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout)
        target = quote(f"{parts.path or '/'}?{parts.query}".rstrip("?"), safe="/?&=%:,+@")
        try:
            connection.connect()
        except SSLCertVerificationError as error:
            raise WrongServer(f"the certificate of {self.url} isn't trusted: {error}; {EXPECTED_TRUST}") from error
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"no server answers at {self.url}: {error}") from error
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # who ends it in the middle may have said why
                connection.request("POST", target, body, headers)
            response = connection.getresponse()
            content = response.read()
        except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, IncompleteRead) as error:
            raise Busy(f"the server ended the connection on {len(body) / 1e6:.1f} MB ({error})") from error
        except TimeoutError as error:
            raise Lost(f"the server gave no answer in {self.timeout:g} s") from error
        except HTTPException as error:
            raise WrongServer(f"{self.url} gives something else than HTTP: {error}") from error
        except OSError as error:
            raise Unreachable(f"no server answers at {self.url}: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise _error(self.url, response.status, content or response.reason.encode(), len(body))
        content_type = response.headers.get_content_type()
        if content_type.encode() != headers["Accept"]:
            raise WrongServer(f"{self.url} gives {content_type}, not what this server does; expected {EXPECTED_URL}")
        return Answer(content, response.headers.get("Server-Timing", ""))


class ClientError(Exception):
    """Why there is no answer, in one line."""


class NoAnswer(ClientError):
    """This picture has none, others may have one."""


class BadPicture(NoAnswer):
    """It can't be read, or isn't one."""


class Busy(NoAnswer):
    """The server has no time for it, or ends the connection, each time."""


class Lost(Busy):
    """The worker that had it has died, or nothing has answered for too long."""


class Refused(NoAnswer):
    """The server says what is wrong with it or with the options, or that it failed."""

    def __init__(self, status: int, error: str, expected: str):
        super().__init__(f"{status} {error}; expected {expected}" if expected else f"{status} {error}")
        self.status = status
        self.error = error
        self.expected = expected  # what would be accepted; "" where the server doesn't say


class Unreachable(ClientError):
    """No server answers at the URL, whatever the picture."""


class WrongServer(Unreachable):
    """What answers is another server, or has no such model."""


class WrongToken(Unreachable):
    """The server wants a token, or another one."""


def _may_pass(failures: Sequence[ClientError]) -> bool:
    """Whether the same request may be answered later."""
    last = failures[-1]
    if isinstance(last, Lost):
        return sum(isinstance(failure, Lost) for failure in failures) < LOST
    is_restarting = type(last) is Unreachable and len(failures) > 1  # it was there a moment ago
    return isinstance(last, Busy) or is_restarting


def picture_bytes(picture: str | Path | bytes | np.ndarray) -> bytes:
    """
    Raises:
        BadPicture: the file can't be read, is empty, or the array is of another kind.
    """
    if isinstance(picture, np.ndarray):
        return encode_png(picture)
    try:
        content = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    except OSError as error:
        raise BadPicture(f"can't read {picture!s}: {error.strerror}") from error
    except TypeError as error:
        expected = "a path, the bytes of a file, or uint8 (H, W, 3) as numpy.asarray gives it of a PIL image"
        raise BadPicture(f"the picture is {type(picture).__name__}; expected {expected}") from error
    if not content:
        raise BadPicture("the picture is empty")
    return content


def encode_png(picture: np.ndarray) -> bytes:
    """A picture, uint8 (H, W, 3), RGB, as a PNG, losslessly and fast.

    Raises:
        BadPicture: it is of another shape or type.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise BadPicture(f"the picture is {picture.dtype} {picture.shape}; expected uint8 (H, W, 3), RGB")
    height, width = picture.shape[:2]
    rows = np.full((height, 1 + 3 * width), 2, np.uint8)  # each begins with its filter: 2, the difference to the last
    rows[:, 1:] = np.diff(picture.reshape(height, -1), axis=0, prepend=np.zeros((1, 3 * width), np.uint8))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, colour type 2: RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _option_headers(options: Options) -> dict[str, str]:
    headers = {}
    for name, value in options.items():
        if name not in Options.__annotations__:
            raise TypeError(f"{name!r} is not an option; expected {', '.join(Options.__annotations__)}")
        if value is not None:
            spelt = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            if not spelt.isprintable():
                raise ValueError(f"{name} is {spelt!r}; expected a line of text")
            headers[name.replace("_", "-").title()] = spelt
    return headers


def _error(url: str, status: int, body: bytes, sent: int) -> ClientError:
    """Of an answer that isn't a 200."""
    content = _object(body)
    told = str(content.get("error") or content.get("message") or body[:200].decode(errors="replace"))
    told = " ".join(told.split()) or "without a word"
    if status in (502, 503):  # 502: a proxy's, whose server has ended the connection
        return Busy(f"{status} {told}")
    if told == "Worker died." or status == 504:  # likewise, that gave no answer in its time
        return Lost(f"{status} {told}")
    if status == 403 and "HTTPS" in told and url.startswith("http://"):
        return WrongServer(f"{url} answers by TLS alone: {told}; expected https://")
    if status in (401, 403) or content.get("type") == "InvalidKeyException":
        return WrongToken(f"{url} wants a token: {status} {told}; expected {EXPECTED_TOKEN}")
    if 300 <= status < 400 or status in (404, 405, 501):
        return WrongServer(f"{url} is not the URL of a model: {status} {told}; expected {EXPECTED_URL}")
    if status == 413:
        expected = "a smaller picture, or a larger max_request_size in the server's config.properties"
        return Refused(413, f"the picture has {sent / 1e6:.1f} MB, more than the server takes", expected)
    return Refused(status, told, str(content.get("expected", "")))


def _object(body: bytes) -> dict[str, object]:
    """Of JSON; our errors are {"error", "expected"}, TorchServe's {"code", "type", "message"}."""
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


if __name__ == "__main__":
    from tensormask_server.client_command import main

    sys.exit(main())
