"""Checks forms while they come: TorchServe's own reader fails on broken ones, and is slow at very many fields."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from starlette.datastructures import Headers as HeadersByName
from starlette.types import Scope

from tensormask_server.formats import JSON
from tensormask_server.gateway.body import Body
from tensormask_server.gateway.errors import bad_request
from tensormask_server.gateway.headers import Headers
from tensormask_server.gateway.multipart import MultipartCheck
from tensormask_server.gateway.url_encoded import UrlEncodedCheck
from tensormask_server.images.signatures import is_image
from tensormask_server.printable import quoted

URL_ENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
# RFC 2046's characters of a boundary, in quotation marks or as most clients write it
QUOTED = r"\"([0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-])\""
BOUNDARY = re.compile(rf";\s*boundary\s*=\s*({QUOTED}|([^\s\";,]{{1,70}}))\s*(;|$)", re.IGNORECASE)
TOKEN = re.compile(r"[0-9A-Za-z'+_.-]+")
EXPECTED_IMAGE = "the bytes of an image: curl -T image.jpg URL, or curl -F data=@image.jpg URL for a form"


class Check(Protocol):
    """Checks one body."""

    def feed(self, piece: bytes) -> None:
        """Checks the next piece. It raises a GatewayError: 400."""

    def close(self) -> None:
        """Checks that the body is whole. It raises a GatewayError: 400."""


@dataclass(frozen=True)
class CheckedForm:
    """A request's headers for the server behind, and the pieces of its body, which are checked as they are read."""

    headers: Headers
    pieces: AsyncIterator[bytes] | None  # None: the request has no body


async def checked_form(scope: Scope, body: Body, *, json_as_form: bool = False) -> CheckedForm:
    """Prepares the checks of a request. A body that is no form for TorchServe goes through unchecked.

    Args:
        scope: ASGI's, with the headers.
        body: of the request.
        json_as_form: JSON may come as a form, as by `curl -d @image.json`; it gets its own type then.

    Raises:
        GatewayError: the body can't be a form, as its headers or its first piece say: 400.
    """
    headers: Headers = scope["headers"]
    if not body.is_expected:
        return CheckedForm(headers, None)
    types = HeadersByName(scope=scope).getlist("content-type")
    if len(types) > 1:
        raise bad_request(f"the request has {len(types)} headers Content-Type", "one")
    content_type = types[0] if types else ""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith("multipart/") and media_type != MULTIPART:
        # TorchServe looks at the beginning only: "multipart/form-datax" is a form for it
        raise bad_request(f"the body's type is {quoted(media_type)}", f"{MULTIPART}, or {EXPECTED_IMAGE}")
    if media_type == MULTIPART and "boundary" in content_type.lower():
        boundary = _boundary(content_type)
        canonical = boundary if TOKEN.fullmatch(boundary) else f'"{boundary}"'
        changed = _with_type(headers, f"{MULTIPART}; boundary={canonical}")
        return CheckedForm(changed, _checked(MultipartCheck(boundary.encode()), body))
    if media_type == URL_ENCODED:
        start = await body.peek()
        if json_as_form and start.lstrip()[:1] == b"{":
            return CheckedForm(_with_type(headers, JSON), body.pieces())
        if is_image(start):
            raise bad_request("the body is an image, sent as a form; curl -d does so, and damages it", EXPECTED_IMAGE)
        return CheckedForm(headers, _checked(UrlEncodedCheck(), body))
    return CheckedForm(headers, body.pieces())


def _boundary(content_type: str) -> str:
    found = BOUNDARY.search(content_type)
    if found is None or content_type.lower().count("boundary") > 1:
        raise bad_request(
            f"the form's Content-Type is {quoted(content_type)}",
            "a form without a Content-Type of your own: clients write the header themselves, with one boundary",
        )
    return found[2] or found[3]


def _with_type(headers: Headers, content_type: str) -> Headers:
    return [*(each for each in headers if each[0] != b"content-type"), (b"content-type", content_type.encode())]


async def _checked(check: Check, body: Body) -> AsyncIterator[bytes]:
    async for piece in body.pieces():
        check.feed(piece)
        yield piece
    check.close()
