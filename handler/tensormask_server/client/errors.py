"""The client's errors.

ClientError                there is no response
    RequestError           this request failed; requests with other images may succeed
        BadImage           the image can't be read, or it isn't an image
        Busy               the server has no time for the image, or it ends the connection
            Lost           the worker with the image died, or no response came for too long
        TooLarge           the response exceeds the client's limits
        Refused            the server refuses the image or an option, or it failed on the image
    Unreachable            no request can succeed
        WrongServer        the URL belongs to another server, or to no model of this one
        WrongToken         the server requires a token, or another token
"""

import json
from collections.abc import Sequence

from tensormask_server.exchange import RawResponse
from tensormask_server.printable import one_line

SENTENCE = 400  # bytes that a message shows of a server's own text
MOST_LOST = 3  # tries without a response; after so many, the image is taken for the cause
EXPECTED_URL = "http://HOST:8080/MODEL/predict"
EXPECTED_TOKEN = (
    'the "inference" key of the key_file.json that the server named when it started, for instance '
    "~/.local/state/tensormask-server/8081/key_file.json; a key is valid for 60 minutes; --token-file, or TokenFile in "
    "Python, reads it there"
)


class ClientError(Exception):
    """There is no response. The message is one line of printable text, at most 1 kB, whatever the server sends."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class RequestError(ClientError):
    """This request failed. Requests with other images may succeed."""


class BadImage(RequestError):
    """The image can't be read, or it isn't an image."""


class Busy(RequestError):
    """The server has no time for the image, or it ends the connection, at each try."""


class Lost(Busy):
    """The worker that had the image died, or no response came for too long."""


class TooLarge(RequestError):
    """The response has more bytes than this client allows, or takes more memory."""


class Refused(RequestError):
    """The server refuses the image or an option, or it failed on the image. The message is the server's."""

    def __init__(self, status: int, error: str, expected: str):
        super().__init__(f"{status} {error}; expected {expected}" if expected else f"{status} {error}")
        self.status = status
        self.error = error
        self.expected = expected  # what would be accepted; "" where the server doesn't say


class Unreachable(ClientError):
    """No request can succeed: no server answers at the URL."""


class WrongServer(Unreachable):
    """The URL belongs to another server, or to no model of this one."""


class WrongToken(Unreachable):
    """The server requires a token, or another token."""


def may_pass(failures: Sequence[ClientError]) -> bool:
    """Whether the same request may succeed later.

    Args:
        failures: one for each try of the request, in order; at least one.
    """
    last = failures[-1]
    if isinstance(last, Lost):
        return sum(isinstance(failure, Lost) for failure in failures) < MOST_LOST
    is_restarting = type(last) is Unreachable and len(failures) > 1  # an earlier try reached it
    return isinstance(last, Busy) or is_restarting


def error_for(url: str, response: RawResponse, request_bytes: int) -> ClientError:
    """The error for a response whose status isn't 200.

    Args:
        url: of the model, printable.
        response: the server's.
        request_bytes: the size of the request's body.
    """
    status = response.status
    content = _texts(response.body)
    text = content.get("error") or content.get("message")
    if text is None:
        text = response.body[:SENTENCE].decode(errors="replace") or response.reason
    message = one_line(text, SENTENCE) or "without a message"
    if status in (502, 503):  # 502: from a proxy whose server ended the connection
        return Busy(f"{status} {message}")
    if message == "Worker died." or status == 504:  # 504: from a proxy whose server was too slow
        return Lost(f"{status} {message}")
    if status == 403 and "HTTPS" in message and url.startswith("http://"):
        return WrongServer(f"{url} is only served by TLS: {message}; expected https://")
    if status in (401, 403) or content.get("type") == "InvalidKeyException":
        return WrongToken(f"{url} requires a token: {status} {message}; expected {EXPECTED_TOKEN}")
    if 300 <= status < 400 or status in (404, 405, 501):
        return WrongServer(f"{url} is not the URL of a model: {status} {message}; expected {EXPECTED_URL}")
    if status == 413:
        expected = "a smaller image, or a larger max_request_size in the server's config.properties"
        return Refused(413, f"the image has {request_bytes / 1e6:.1f} MB, more than the server accepts", expected)
    return Refused(status, message, one_line(content.get("expected", ""), SENTENCE))


def _texts(body: bytes) -> dict[str, str]:
    """The texts of a JSON object. Our errors are {"error", "expected"}, TorchServe's {"code", "type", "message"}."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: value for name, value in content.items() if isinstance(value, str)}
