"""The requests that the relay passes on to TorchServe: the management API's documented routes, for local programs."""

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from tensormask_server.spelling import did_you_mean

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
NUMBER = re.compile(r"[0-9]{1,4}")
ROUTES = (
    "GET /models, GET /models/NAME, PUT /models/NAME?min_worker=N&max_worker=N, GET /v1/models/NAME and "
    "GET /token?type=inference (or management)"
)


@dataclass(frozen=True)
class Route:
    """A route whose requests are passed on."""

    method: str
    path: re.Pattern[str]
    query: Mapping[str, re.Pattern[str]]  # from each key that the query may have to a pattern for its value


DOCUMENTED = (
    Route("GET", re.compile("/models/?"), {"limit": NUMBER, "next_page_token": NUMBER}),
    Route("GET", re.compile(rf"/models/{NAME}(/{NAME})?"), {}),
    Route(
        "PUT",
        re.compile(rf"/models/{NAME}(/{NAME})?"),
        {
            "min_worker": NUMBER,
            "max_worker": NUMBER,
            "synchronous": re.compile("true|false"),
        },
    ),
    Route("GET", re.compile(rf"/v1/models/{NAME}"), {}),
    Route("GET", re.compile("/token"), {"type": re.compile("inference|management")}),
)


class Refused(Exception):
    """A request that isn't passed on."""

    def __init__(self, status: HTTPStatus, error: str, expected: str):
        """
        Args:
            status: of the response.
            error: what is wrong with the request.
            expected: what would be accepted.
        """
        super().__init__(error)
        self.status = status
        self.error = error
        self.expected = expected


def checked_target(method: str, target: str, most_workers: int) -> str:
    """Checks a request against the documented routes.

    Args:
        method: of the request.
        target: its path and query.
        most_workers: how many workers a model may be scaled to.

    Returns:
        The path and the query to pass on.

    Raises:
        Refused: no documented route allows this request.
    """
    parts = urlsplit(target) if target.startswith("/") else urlsplit("")
    matching = [route for route in DOCUMENTED if route.path.fullmatch(parts.path)]
    if not matching:
        raise Refused(HTTPStatus.NOT_FOUND, "there is nothing at this path", f"one of {ROUTES}")
    route = next((route for route in matching if route.method == method), None)
    if route is None:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "this method isn't allowed at this path", f"one of {ROUTES}")
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=10)
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "the query has more than 10 keys", "each key once") from error
    for key, value in pairs:
        _check_pair(key, value, route, most_workers)
    if len({key for key, _ in pairs}) < len(pairs):
        raise Refused(HTTPStatus.BAD_REQUEST, "the query has a key twice", "each key once")
    if method == "PUT" and not pairs:
        raise Refused(HTTPStatus.BAD_REQUEST, "the query is empty", "min_worker=N, or min_worker=N&max_worker=N")
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _check_pair(key: str, value: str, route: Route, most_workers: int) -> None:
    """
    Raises:
        Refused: the route has no such key, or the key no such value.
    """
    if key not in route.query:
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"the query has {json.dumps(key[:60])}, which isn't known{did_you_mean(key, route.query)}",
            ", ".join(route.query) or "no query; workers are scaled by PUT: curl -X PUT",
        )
    counts_workers = key in ("min_worker", "max_worker")
    if route.query[key].fullmatch(value) and not (counts_workers and int(value) > most_workers):
        return
    expected = f"{key} as {route.query[key].pattern.replace('|', ' or ')}"
    if counts_workers:
        expected = (
            f"{key} as a whole number from 0 to {most_workers}, the most on this machine: twice its cores, at least 4; "
            "an archive made by ./archive.sh --workers N can start with more"
        )
    elif route.query[key] is NUMBER:
        expected = f"{key} as a whole number"
    raise Refused(HTTPStatus.BAD_REQUEST, f"{key} is {json.dumps(value[:60])}", expected)


def check_sender(headers: Message) -> None:
    """Checks that a program of this machine has sent the request, and not a page in a browser.

    Args:
        headers: of the request.

    Raises:
        Refused: the request may come from a page, or isn't for this machine.
    """
    hosts, origins = headers.get_all("Host", []), headers.get_all("Origin", [])
    if len(hosts) != 1 or not _is_loopback(hosts[0]):
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "the request's Host isn't this machine's own address",
            "localhost, 127.0.0.1 or [::1], each with the port: only programs of this machine can manage it",
        )
    if any(origin != f"http://{hosts[0]}" for origin in origins) or headers.get("Sec-Fetch-Site", "none") not in (
        "none",
        "same-origin",
    ):
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "the request comes from a page in a browser",
            "a request of another program, such as curl",
        )


def _is_loopback(host: str) -> bool:
    """Whether a Host header names this machine as seen from itself."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?", host)
    if match is None:
        return False
    try:
        return ipaddress.ip_address(match[1].strip("[]")).is_loopback
    except ValueError:
        return match[1].lower() == "localhost"
