"""The management API's documented routes: all that the relay passes on to TorchServe."""

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from tensormask_server.spelling import did_you_mean

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
WORKERS = re.compile(r"[0-9]{1,4}")
ROUTES = (
    "GET /models, GET /models/NAME, PUT /models/NAME?min_worker=N&max_worker=N, GET /v1/models/NAME and "
    "GET /token?type=inference (or management)"
)


@dataclass(frozen=True)
class Route:
    """A route that is passed on, and what its query may have: a pattern for each key's value."""

    method: str
    path: re.Pattern[str]
    query: Mapping[str, re.Pattern[str]]


DOCUMENTED = (
    Route("GET", re.compile("/models/?"), {"limit": WORKERS, "next_page_token": WORKERS}),
    Route("GET", re.compile(rf"/models/{NAME}(/{NAME})?"), {}),
    Route(
        "PUT",
        re.compile(rf"/models/{NAME}(/{NAME})?"),
        {
            "min_worker": WORKERS,
            "max_worker": WORKERS,
            "synchronous": re.compile("true|false"),
        },
    ),
    Route("GET", re.compile(rf"/v1/models/{NAME}"), {}),
    Route("GET", re.compile("/token"), {"type": re.compile("inference|management")}),
)


class Refused(Exception):
    """A request that isn't passed on: its status, what was wrong and what would be accepted."""

    def __init__(self, status: HTTPStatus, error: str, expected: str):
        super().__init__(error)
        self.status = status
        self.error = error
        self.expected = expected


def checked_target(method: str, target: str, most_workers: int) -> str:
    """The path and the query that are passed on.

    Raises:
        Refused: no documented route has them.
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
        if key not in route.query:
            known = ", ".join(route.query) or "no query; workers are scaled by PUT: curl -X PUT"
            raise Refused(
                HTTPStatus.BAD_REQUEST,
                f"the query has {json.dumps(key[:60])}, which isn't known{did_you_mean(key, route.query)}",
                known,
            )
        if not route.query[key].fullmatch(value):
            expected = f"{key} as {route.query[key].pattern.replace('|', ' or ')}"
            if route.query[key] is WORKERS:
                expected = f"{key} as a whole number from 0 to {most_workers}"
            raise Refused(HTTPStatus.BAD_REQUEST, f"{key} is {json.dumps(value[:60])}", expected)
        if key in ("min_worker", "max_worker") and int(value) > most_workers:
            raise Refused(
                HTTPStatus.BAD_REQUEST,
                f"{key} is {int(value)}",
                f"at most {most_workers} on this machine: more workers than cores or GPUs answer no more requests",
            )
    if len({key for key, _ in pairs}) < len(pairs):
        raise Refused(HTTPStatus.BAD_REQUEST, "the query has a key twice", "each once")
    if method == "PUT" and not pairs:
        raise Refused(HTTPStatus.BAD_REQUEST, "the query is empty", "min_worker=N, and max_worker=N if you like")
    return parts.path + (f"?{parts.query}" if parts.query else "")


def is_loopback(host: str) -> bool:
    """Whether a Host header names this machine as seen from itself."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?", host)
    if found is None:
        return False
    try:
        return ipaddress.ip_address(found[1].strip("[]")).is_loopback
    except ValueError:
        return found[1].lower() == "localhost"
