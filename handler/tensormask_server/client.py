"""A client of the server: an image in, what was found on it out. It needs numpy, and no torch.

python -m tensormask_server.client IMAGE… --out DIR has whole folders answered; client_command.py is that command.
"""

import json
import logging
import re
import struct
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead
from pathlib import Path
from ssl import SSLCertVerificationError
from typing import TypedDict, Unpack
from urllib.parse import quote, urlsplit

import numpy as np

from tensormask_server.exchange import Limits, Response, ResponseTooLarge, exchange
from tensormask_server.formats import FORMATS
from tensormask_server.instances import MAX_MASK_PIXELS, AnswerTooLarge, Instances, read_instances
from tensormask_server.printable import one_line, printable
from tensormask_server.tokens import TokenError, TokenFile, checked_token

TIMEOUT = 600  # seconds; the server gives a request up long before
TOTAL_TIMEOUT = 3600  # seconds
MAX_ANSWER_BYTES = 1 << 28  # the server's own limit is 60 MB, until --max-response-bytes changes it
MAX_IMAGE_BYTES = 1 << 28  # of a file; the server takes 64 MiB, until config.properties changes it
SENTENCE = 400  # bytes of what a server says, in a message
WAITS = (0.5, 1, 2, 4, 8, 16, 32)  # seconds before each further try; a worker that has died is back by then
LOST = 3  # tries that end a worker or get no answer, after which the image is taken for the cause
EXPECTED_URL = "http://HOST:8080/predictions/MODEL"
EXPECTED_TRUST = (
    "to trust a certificate of your own name its file in the environment variable SSL_CERT_FILE, and call the server "
    "by a name that stands in it"
)
EXPECTED_TOKEN = (
    'the "inference" key of the key_file.json that the server named when it started, as '
    "~/.local/state/tensormask-server/8081/key_file.json; it holds for 60 minutes; --token-file, or TokenFile in "
    "Python, reads it there"
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
    """A server's answer to an image."""

    body: bytes
    server_timing: str  # the header: part;dur=milliseconds, …; "" where there is none


@dataclass(frozen=True)
class Client:
    """Has images answered by a server; threads can share it."""

    url: str  # of a model: http://127.0.0.1:8080/predictions/tensormask
    token: str | TokenFile | None = field(default=None, repr=False)  # of a server that wants one
    waits: tuple[float, ...] = WAITS
    timeout: float = TIMEOUT  # seconds without a byte, after which a request is taken for lost
    total_timeout: float = TOTAL_TIMEOUT  # seconds of all tries of a request together
    max_answer_bytes: int = MAX_ANSWER_BYTES
    max_mask_pixels: int = MAX_MASK_PIXELS  # of all masks that `predict` makes of an answer

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and self.url.isprintable()
            good = good and not re.search(r"\s", parts.netloc)
        except ValueError:
            good = False
        if not good:
            raise Unreachable(f"{printable(repr(self.url))} is not the URL of a server; expected {EXPECTED_URL}")
        if parts.username is not None or parts.password is not None:
            expected = f"{EXPECTED_URL}, and a token by --token-file or TENSORMASK_TOKEN"
            raise Unreachable(f"the URL of the server at {parts.hostname} has a user name in it; expected {expected}")
        if isinstance(self.token, str):
            try:
                checked_token(self.token)
            except TokenError as error:
                raise WrongToken(str(error)) from error

    def predict(self, image: str | Path | bytes | np.ndarray, **options: Unpack[Options]) -> Instances:
        """What the server finds on an image.

        Args:
            image: a file's path, such a file's bytes, or uint8 (H, W, 3), RGB.

        Raises:
            NoAnswer: this image, with these options, isn't answered: BadImage, Refused, Busy or TooLarge.
            Unreachable: no image would be: nothing answers at the URL, or (WrongServer) something else than this
                server, or (WrongToken) it wants another token.
        """
        answer = self.answer(image, "coco", **options)
        try:
            found = read_instances(answer.body, answer.server_timing, self.max_mask_pixels)
        except AnswerTooLarge as error:
            raise TooLarge(f"the answer has {error}; Client's max_mask_pixels sets the limit of masks") from error
        except MemoryError as error:
            raise TooLarge(f"the memory is too small for an answer of {len(answer.body) / 1e6:.1f} MB") from error
        except ValueError as error:
            raise self._not_ours(error) from error
        if isinstance(image, np.ndarray) and (found.height, found.width) != image.shape[:2]:
            sizes = f"{found.height}×{found.width} pixels for an image of {image.shape[0]}×{image.shape[1]}"
            raise self._not_ours(sizes)
        return found

    def answer(self, image: str | Path | bytes | np.ndarray, format: str, **options: Unpack[Options]) -> Answer:
        """The answer in any of the server's formats, as it came; after a while, where the server is too busy, ends
        the connection, loses its worker or is started anew.

        Args:
            image: as `predict` takes it.
            format: one of FORMATS.

        Raises:
            NoAnswer, Unreachable: as `predict` does.
        """
        body = image_bytes(image)
        headers = {"Content-Type": "application/octet-stream", "Accept": FORMATS[format].media_type, "Format": format}
        sent = {name: value.encode() for name, value in {**headers, **_option_headers(options)}.items()}
        limits = Limits(self.timeout, time.monotonic() + self.total_timeout, self.max_answer_bytes)
        failures: list[ClientError] = []
        for wait in (*self.waits, None):
            token = self.token.token() if isinstance(self.token, TokenFile) else self.token
            try:
                return self._post(body, sent, token, limits)
            except WrongToken as error:
                if wait is None or token is None or not self._has_other_token(token):
                    raise
                failures.append(error)
                continue
            except ClientError as error:
                failures.append(error)
                if not _may_pass(failures):
                    raise
                if wait is None or time.monotonic() + wait >= limits.deadline:
                    break
                logger.info("%s; trying again in %g s", error, wait)
            time.sleep(wait)
        last = failures[-1]
        if isinstance(last, Busy) and len(failures) > 1:
            raise type(last)(f"{last}, {len(failures)} times") from last
        raise last

    def _has_other_token(self, refused: str) -> bool:
        return isinstance(self.token, TokenFile) and self.token.is_renewed(refused)

    def _post(self, body: bytes, headers: Mapping[str, bytes], token: str | None, limits: Limits) -> Answer:
        parts = urlsplit(self.url)
        url = printable(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        target = quote(f"{parts.path or '/'}?{parts.query}".rstrip("?"), safe="/?&=%:,+@")
        sent = headers if token is None else {**headers, "Authorization": f"Bearer {token.strip()}".encode()}
        connection = None
        try:
            connection = kind(parts.hostname or "", parts.port, timeout=limits.seconds())
            connection.connect()
        except SSLCertVerificationError as error:
            raise WrongServer(f"the certificate of {url} isn't trusted: {error}; {EXPECTED_TRUST}") from error
        except (OSError, UnicodeError, HTTPException) as error:
            raise Unreachable(f"no server answers at {url}: {one_line(error, SENTENCE)}") from error
        try:
            response = exchange(connection, "POST", target, body, sent, limits)
        except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, IncompleteRead) as error:
            raise Busy(f"the server ended the connection on {len(body) / 1e6:.1f} MB ({error})") from error
        except TimeoutError as error:
            seconds = (
                f"{self.timeout:g} s" if time.monotonic() < limits.deadline else f"{self.total_timeout:g} s in all"
            )
            raise Lost(f"the server gave no answer in {seconds}") from error
        except ResponseTooLarge as error:
            expected = f"at most {self.max_answer_bytes} bytes, which Client's max_answer_bytes sets"
            raise TooLarge(f"{url} sends {error}; expected {expected}") from error
        except (HTTPException, ValueError) as error:
            raise WrongServer(f"{url} gives something else than HTTP: {one_line(error, SENTENCE)}") from error
        except OSError as error:
            raise Unreachable(f"no server answers at {url}: {one_line(error, SENTENCE)}") from error
        except MemoryError as error:
            raise TooLarge(f"the memory is too small for the answer of {url}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise _error(url, response, len(body))
        content_type = response.headers.get_content_type()
        if content_type.encode(errors="replace") != headers["Accept"]:
            found = printable(content_type)
            raise WrongServer(f"{url} gives {found}, not what this server does; expected {EXPECTED_URL}")
        return Answer(response.body, response.headers.get("Server-Timing", ""))

    def _not_ours(self, found: object) -> "WrongServer":
        told = one_line(found, SENTENCE)
        return WrongServer(f"{printable(self.url)} gives something else than this server's answers: {told}")


class ClientError(Exception):
    """Why there is no answer: one line of printable text, at most 1 kB, whatever the server says."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class NoAnswer(ClientError):
    """This image has none, others may have one."""


class BadImage(NoAnswer):
    """It can't be read, or isn't one."""


class Busy(NoAnswer):
    """The server has no time for it, or ends the connection, each time."""


class Lost(Busy):
    """The worker that had it has died, or nothing has answered for too long."""


class TooLarge(NoAnswer):
    """The answer has more bytes, or takes more memory, than this client allows."""


class Refused(NoAnswer):
    """The server says what is wrong with it or with the options, or that it failed."""

    def __init__(self, status: int, error: str, expected: str):
        super().__init__(f"{status} {error}; expected {expected}" if expected else f"{status} {error}")
        self.status = status
        self.error = error
        self.expected = expected  # what would be accepted; "" where the server doesn't say


class Unreachable(ClientError):
    """No server answers at the URL, whatever the image."""


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


def image_bytes(image: str | Path | bytes | np.ndarray) -> bytes:
    """
    Raises:
        BadImage: the file can't be read, is empty or has more than MAX_IMAGE_BYTES, or the array is of another
            kind.
    """
    if isinstance(image, np.ndarray):
        return encode_png(image)
    try:
        content = image if isinstance(image, bytes) else _file_bytes(Path(image))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadImage(f"can't read {printable(image)}: {reason}") from error
    except TypeError as error:
        expected = "a path, the bytes of a file, or uint8 (H, W, 3) as numpy.asarray gives it of a PIL image"
        raise BadImage(f"the image is {type(image).__name__}; expected {expected}") from error
    if not content:
        raise BadImage("the image is empty")
    return content


def _file_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_IMAGE_BYTES + 1)
    if len(content) > MAX_IMAGE_BYTES:
        raise BadImage(f"{printable(path)} has more than {MAX_IMAGE_BYTES} bytes, more than an image has")
    return content


def encode_png(image: np.ndarray) -> bytes:
    """An image, uint8 (H, W, 3), RGB, as a PNG, losslessly and fast.

    Raises:
        BadImage: it is of another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise BadImage(f"the image is {image.dtype} {image.shape}; expected uint8 (H, W, 3), RGB")
    height, width = image.shape[:2]
    rows = np.full((height, 1 + 3 * width), 2, np.uint8)  # each begins with its filter: 2, the difference to the last
    rows[:, 1:] = np.diff(image.reshape(height, -1), axis=0, prepend=np.zeros((1, 3 * width), np.uint8))
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


def _error(url: str, response: Response, sent: int) -> ClientError:
    """Of an answer that isn't a 200."""
    status = response.status
    content = _object(response.body)
    said = content.get("error") or content.get("message")
    if said is None:
        said = response.body[:SENTENCE].decode(errors="replace") or response.reason
    told = one_line(said, SENTENCE) or "without a word"
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
        expected = "a smaller image, or a larger max_request_size in the server's config.properties"
        return Refused(413, f"the image has {sent / 1e6:.1f} MB, more than the server takes", expected)
    return Refused(status, told, one_line(content.get("expected", ""), SENTENCE))


def _object(body: bytes) -> dict[str, str]:
    """The texts of a JSON object; our errors are {"error", "expected"}, TorchServe's {"code", "type", "message"}."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: value for name, value in content.items() if isinstance(value, str)}


if __name__ == "__main__":
    from tensormask_server.client_command import main

    sys.exit(main())
