"""`Client`: sends images to a server and reads its responses. It repeats requests that may succeed later."""

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from typing import Unpack
from urllib.parse import quote, urlsplit

import numpy as np

from tensormask_server.client.connecting import connected
from tensormask_server.client.errors import (
    EXPECTED_URL,
    SENTENCE,
    Busy,
    ClientError,
    Lost,
    TooLarge,
    Unreachable,
    WrongServer,
    WrongToken,
    error_for,
    may_pass,
)
from tensormask_server.client.images import image_bytes
from tensormask_server.client.options import Options, option_headers
from tensormask_server.exchange import Limits, RawResponse, TooManyBytes, exchange
from tensormask_server.formats import FORMATS
from tensormask_server.instances import MAX_MASK_PIXELS, Instances, ResponseTooLarge, read_instances
from tensormask_server.printable import one_line, printable, quoted
from tensormask_server.tokens import TokenError, TokenFile, checked_token

TIMEOUT = 600  # seconds; the server's own time limit is much shorter
TOTAL_TIMEOUT = 3600  # seconds
MAX_RESPONSE_BYTES = 1 << 28  # the server's own limit is 60 MB unless --max-response-bytes says otherwise
WAITS = (0.5, 1, 2, 4, 8, 16, 32)  # seconds before each further try; a dead worker is replaced within their sum

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Response:
    """A server's response to an image, in the requested format."""

    body: bytes
    server_timing: str  # the header Server-Timing: part;dur=milliseconds, …; "" if there is none
    note: str = ""  # the header X-Image-Note: what the server says of how it decoded the image


@dataclass(frozen=True)
class Client:
    """Sends images to a server and reads its responses. Threads can share it."""

    url: str  # of a model: http://127.0.0.1:8080/tensormask/predict
    token: str | TokenFile | None = field(default=None, repr=False)  # only for a server that requires one
    waits: tuple[float, ...] = WAITS  # seconds before each further try
    timeout: float = TIMEOUT  # seconds without a byte, after which a request is taken for lost
    total_timeout: float = TOTAL_TIMEOUT  # seconds of all tries of a request together
    max_response_bytes: int = MAX_RESPONSE_BYTES
    max_mask_pixels: int = MAX_MASK_PIXELS  # of all masks of a response together, in `predict`

    def __post_init__(self) -> None:
        _check_url(self.url)
        if isinstance(self.token, str):
            try:
                checked_token(self.token)
            except TokenError as error:
                raise WrongToken(str(error)) from error

    def predict(self, image: str | Path | bytes | np.ndarray, **options: Unpack[Options]) -> Instances:
        """Detects the instances on an image.

        Args:
            image: a file's path, such a file's bytes, or uint8 (H, W, 3), RGB.
            options: see `Options`.

        Returns:
            The instances, best score first, in pixels of the image.

        Raises:
            RequestError: the request with this image and these options failed: BadImage, Refused, Busy or TooLarge.
            Unreachable: no request can succeed. No server answers at the URL, or it is another server (WrongServer),
                or the server requires another token (WrongToken).
            TypeError, ValueError: an option is unknown, or its value isn't a line of text.
        """
        size = image.shape[:2] if isinstance(image, np.ndarray) else None
        return self.instances(self.request(image, "coco", **options), size)

    def instances(self, response: Response, size: tuple[int, ...] | None = None) -> Instances:
        """Reads the instances from a response in the format coco.

        Args:
            response: to an image.
            size: height and width of this image, in pixels. None: they aren't known.

        Raises:
            TooLarge: its masks exceed `max_mask_pixels`, or the memory is too small for them.
            WrongServer: it isn't such a response, or it is for an image of another size.
        """
        try:
            instances = read_instances(response.body, response.server_timing, self.max_mask_pixels)
        except ResponseTooLarge as error:
            raise TooLarge(f"the response has {error}; Client's max_mask_pixels sets the limit of masks") from error
        except MemoryError as error:
            raise TooLarge(f"the memory is too small for a response of {len(response.body) / 1e6:.1f} MB") from error
        except ValueError as error:
            raise self._not_ours(error) from error
        if size is not None and (instances.height, instances.width) != size:
            sizes = f"{instances.height}×{instances.width} pixels for an image of {size[0]}×{size[1]}"
            raise self._not_ours(sizes)
        return instances

    def request(self, image: str | Path | bytes | np.ndarray, format: str, **options: Unpack[Options]) -> Response:
        """Requests the detections on an image in any of the server's formats.

        It tries again after a while if the server is too busy, ends the connection, loses its worker or restarts.

        Args:
            image: as for `predict`.
            format: a name in `tensormask_server.formats.FORMATS`.
            options: see `Options`.

        Returns:
            The response. Its body is in the requested format, and isn't checked.

        Raises:
            RequestError, Unreachable, TypeError, ValueError: as `predict` does. ValueError also for an unknown format.
        """
        if format not in FORMATS:
            raise ValueError(f"format is {quoted(format)}; expected one of {', '.join(FORMATS)}")
        body = image_bytes(image)
        media_type = FORMATS[format].media_type
        headers = {"Content-Type": "application/octet-stream", "Accept": media_type, "Format": format}
        encoded = {name: value.encode() for name, value in {**headers, **option_headers(options)}.items()}
        limits = Limits(self.timeout, time.monotonic() + self.total_timeout, self.max_response_bytes)
        failures: list[ClientError] = []
        for wait in (*self.waits, None):
            token = self.token.token() if isinstance(self.token, TokenFile) else self.token
            try:
                return self._try(body, encoded, token, limits)
            except WrongToken as error:
                if wait is None or token is None or not self._has_other_token(token):
                    raise
                failures.append(error)
                continue
            except ClientError as error:
                failures.append(error)
                if not may_pass(failures):
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

    def _try(self, body: bytes, headers: Mapping[str, bytes], token: str | None, limits: Limits) -> Response:
        url = printable(self.url)
        authorization = {} if token is None else {"Authorization": f"Bearer {token.strip()}".encode()}
        response = self._post(body, {**headers, **authorization}, limits)
        if response.status != 200:
            raise error_for(url, response, len(body))
        content_type = response.headers.get_content_type()
        if content_type.encode(errors="replace") != headers["Accept"]:
            requested = headers["Accept"].decode()
            raise WrongServer(f"{url} sends {printable(content_type)}, not {requested}; expected {EXPECTED_URL}")
        timing, note = (response.headers.get(name, "") for name in ("Server-Timing", "X-Image-Note"))
        return Response(response.body, timing, note)

    def _post(self, body: bytes, headers: Mapping[str, bytes], limits: Limits) -> RawResponse:
        parts = urlsplit(self.url)
        url = printable(self.url)
        target = quote(f"{parts.path or '/'}?{parts.query}".rstrip("?"), safe="/?&=%:,+@")
        try:
            timeout = limits.seconds()
        except TimeoutError as error:
            raise self._lost(limits) from error
        connection = connected(parts, timeout)
        try:
            return exchange(connection, "POST", target, body, headers, limits)
        except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, IncompleteRead) as error:
            raise Busy(f"the server ended the connection on {len(body) / 1e6:.1f} MB ({error})") from error
        except TimeoutError as error:
            raise self._lost(limits) from error
        except TooManyBytes as error:
            expected = f"at most {self.max_response_bytes} bytes, which Client's max_response_bytes sets"
            raise TooLarge(f"{url} sends {error}; expected {expected}") from error
        except (HTTPException, ValueError) as error:
            raise WrongServer(f"{url} sends something else than HTTP: {one_line(error, SENTENCE)}") from error
        except OSError as error:
            raise Unreachable(f"no server answers at {url}: {one_line(error, SENTENCE)}") from error
        except MemoryError as error:
            raise TooLarge(f"the memory is too small for the response of {url}") from error
        finally:
            connection.close()

    def _lost(self, limits: Limits) -> Lost:
        has_time = time.monotonic() < limits.deadline
        seconds = f"{self.timeout:g} s" if has_time else f"{self.total_timeout:g} s in all"
        return Lost(f"the server sent no response in {seconds}")

    def _not_ours(self, content: object) -> WrongServer:
        shown = one_line(content, SENTENCE)
        return WrongServer(f"{printable(self.url)} sends something else than this server's responses: {shown}")


def _check_url(url: str) -> None:
    """Checks the URL of a server.

    Raises:
        Unreachable: it isn't a server's URL, or it has a user name in it. The message doesn't show a password.
    """
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isprintable()
        is_good = is_good and not re.search(r"\s", parts.netloc)
    except ValueError:
        is_good = False
    if not is_good:
        raise Unreachable(f"{printable(repr(url))} is not the URL of a server; expected {EXPECTED_URL}")
    if parts.username is not None or parts.password is not None:
        expected = f"{EXPECTED_URL}, and a token by --token-file or TENSORMASK_TOKEN"
        raise Unreachable(f"the URL of the server at {parts.hostname} has a user name in it; expected {expected}")
