"""Fetches the images of tasks from the one Label Studio that the gateway was told of. No other server is asked."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import httpx

from tensormask_server.gateway.errors import GatewayError, bad_request
from tensormask_server.gateway.settings import Settings
from tensormask_server.gateway.whole_bodies import WholeBodies
from tensormask_server.label_studio_arguments import VARIABLE
from tensormask_server.printable import printable, quoted

SECONDS = 30.0  # for one image, with all redirects
CONNECTIONS = 8
MOST_REDIRECTS = 3
LARGEST_REFRESH = 1 << 16  # bytes of a response with an access token
DATA = "data:"
STORAGES = ("s3:", "gs:", "azure-blob:")  # Label Studio reads these itself
TOKEN_EXPECTED = f"a token of Label Studio in {VARIABLE} or --label-studio-token-file: a personal access token, or a "
TOKEN_EXPECTED += "legacy one where the organization allows it"


class LabelStudioImages:
    """The images of a Label Studio. It keeps the access token that it has got for a personal access token."""

    def __init__(self, settings: Settings, held: WholeBodies):
        """
        Args:
            settings: with Label Studio's URL and token.
            held: counts the images in memory.
        """
        self._base = httpx.URL(f"{settings.label_studio}/") if settings.label_studio else None
        self._token = settings.label_studio_token
        self._most_bytes = settings.max_body_bytes
        self._held = held
        self._is_personal = self._token.count(".") == 2  # and no legacy token
        self._access = ""  # for a personal access token; it ends after some minutes
        self._refreshing = asyncio.Lock()
        self._certificates = ssl.create_default_context()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        """The connections for the images of one request."""
        limits = httpx.Limits(max_connections=CONNECTIONS)
        async with httpx.AsyncHTTPTransport(verify=self._certificates, limits=limits, trust_env=False) as transport:
            yield transport

    @asynccontextmanager
    async def read(self, transport: httpx.AsyncHTTPTransport, location: object, task: object) -> AsyncIterator[bytes]:
        """Reads an image. Its bytes count until the context ends.

        Args:
            transport: of a `session`.
            location: as a task's data has it: a path or URL of Label Studio, a URL of a storage, or a `data:` URL.
            task: the task's number.

        Returns:
            The bytes of the file; of a `data:` URL the URL, which the server reads.

        Raises:
            GatewayError: the location is another one, or isn't to be fetched: 400. Label Studio doesn't give the image:
                502 or 504. There are too many bytes in memory: 503.
        """
        if isinstance(location, str) and location[: len(DATA)].lower() == DATA:
            yield location.encode(errors="replace")
            return
        url = self._url(location, task)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(SECONDS):
                    content = await stack.enter_async_context(self._held.read(_Download(self, transport, url)))
            except TimeoutError as error:
                raise GatewayError(
                    HTTPStatus.GATEWAY_TIMEOUT,
                    f"Label Studio doesn't give the image within {SECONDS:g} s",
                    "the same task again later",
                ) from error
            except httpx.TransportError as error:
                raise _failed(
                    f"Label Studio at {self._base} breaks off or can't be reached: {type(error).__name__}",
                    "a running Label Studio at the URL of --label-studio",
                ) from error
            yield content

    async def download(self, transport: httpx.AsyncHTTPTransport, url: httpx.URL) -> AsyncIterator[bytes]:
        """Yields the bytes at a URL of Label Studio. Redirects to other origins aren't followed.

        Raises:
            GatewayError: Label Studio answers with something else than a file, or a larger one: 502.
            httpx.TransportError: the connection fails.
        """
        response = await self._get(transport, url)
        try:
            kind = response.headers.get("content-type", "")
            if response.status_code != HTTPStatus.OK or kind.startswith("text/html"):
                raise _refused(response.status_code, kind)
            size = 0
            async for piece in response.aiter_raw():
                size += len(piece)
                if size > self._most_bytes:
                    raise _failed(f"the image has more than {self._most_bytes} bytes", "a smaller file in Label Studio")
                if piece:
                    yield piece
        finally:
            await response.aclose()

    def _url(self, location: object, task: object) -> httpx.URL:
        if not isinstance(location, str) or not location:
            raise bad_request(f"the image of the task is {quoted(location)}", "a URL, a path or a data: URL as text")
        if self._base is None:
            raise bad_request(
                "the image would have to be fetched, and the gateway doesn't know from which Label Studio",
                "the option --label-studio URL of tensormask-gateway, with Label Studio's address",
            )
        if location.startswith(STORAGES):
            if type(task) is not int:
                raise bad_request(f"the task has the id {quoted(task)}", "a whole number, as Label Studio gives it")
            file = base64.urlsafe_b64encode(location.encode(errors="replace")).decode()
            location = f"{self._base.path}tasks/{task}/resolve/?fileuri={file}"
        elif location.startswith("/") and not location.startswith(self._base.path):
            location = f"{self._base.path}{location[1:]}"
        if not location.startswith(("/", "http://", "https://")):
            raise bad_request(
                f"the image of the task is at {quoted(location)}", f"a path or URL of the Label Studio at {self._base}"
            )
        return self._checked(self._base, location, HTTPStatus.BAD_REQUEST, "the image of the task is at")

    def _checked(self, start: httpx.URL, location: str, status: HTTPStatus, found: str) -> httpx.URL:
        """The URL of a location, seen from another one.

        Raises:
            GatewayError: it isn't of Label Studio's origin.
        """
        assert self._base is not None
        try:
            url = start.join(location)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise GatewayError(status, f"{found} {quoted(location)}, which is no URL", "an image's URL") from error
        if (url.scheme, url.host, url.port) != (self._base.scheme, self._base.host, self._base.port):
            origin = printable(f"{url.scheme}://{url.netloc.decode('ascii', 'replace').rpartition('@')[2]}")
            raise GatewayError(
                status,
                f"{found} {origin}, from which nothing is fetched",
                f"an image of the Label Studio at {self._base}, uploaded or in a storage that is set to proxy through "
                "Label Studio (without pre-signed URLs)",
            )
        return url

    async def _get(self, transport: httpx.AsyncHTTPTransport, url: httpx.URL) -> httpx.Response:
        renewed = False
        redirects = 0
        while True:
            authorization = await self._authorization(transport)
            response = await transport.handle_async_request(_request("GET", url, authorization))
            if response.status_code == HTTPStatus.UNAUTHORIZED and self._is_personal and not renewed:
                renewed = True
                if authorization == self._with_access():  # another image may have got a new one meanwhile
                    self._access = ""
            elif response.has_redirect_location and redirects < MOST_REDIRECTS:
                redirects += 1
                url = self._checked(
                    url, response.headers["location"], HTTPStatus.BAD_GATEWAY, "Label Studio redirects to"
                )
            else:
                return response
            await response.aclose()

    async def _authorization(self, transport: httpx.AsyncHTTPTransport) -> dict[str, str]:
        if not self._token:
            return {}
        if not self._is_personal:
            return {"Authorization": f"Token {self._token}"}
        async with self._refreshing:
            if not self._access:
                self._access = await self._access_token(transport)
        return self._with_access()

    def _with_access(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._access}"}

    async def _access_token(self, transport: httpx.AsyncHTTPTransport) -> str:
        """Gets an access token for the personal access token.

        Raises:
            GatewayError: Label Studio gives none: 502.
        """
        assert self._base is not None
        content = json.dumps({"refresh": self._token}).encode()
        request = _request("POST", self._base.join("api/token/refresh"), {"Content-Type": "application/json"}, content)
        response = await transport.handle_async_request(request)
        received = bytearray()
        try:
            async for piece in response.aiter_raw():
                received += piece
                if len(received) > LARGEST_REFRESH:
                    break
        finally:
            await response.aclose()
        try:
            if response.status_code == HTTPStatus.OK:
                access = json.loads(received)["access"]
                if isinstance(access, str) and access.isascii() and access.isprintable():
                    return access
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise _refused(response.status_code, response.headers.get("content-type", ""))


@dataclass(frozen=True)
class _Download:
    """A file that comes in pieces."""

    images: LabelStudioImages
    transport: httpx.AsyncHTTPTransport
    url: httpx.URL

    def pieces(self) -> AsyncIterator[bytes]:
        return self.images.download(self.transport, self.url)


def _request(method: str, url: httpx.URL, headers: dict[str, str], content: bytes = b"") -> httpx.Request:
    timeouts = {"connect": SECONDS, "read": SECONDS, "write": SECONDS, "pool": SECONDS}
    # what is compressed could become arbitrarily large
    sent = {"Accept-Encoding": "identity", "User-Agent": "tensormask-gateway", **headers}
    return httpx.Request(method, url, headers=sent, content=content or None, extensions={"timeout": timeouts})


def _refused(status: int, kind: str) -> GatewayError:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _failed(f"Label Studio refuses to give the image, with status {status}", TOKEN_EXPECTED)
    if status == HTTPStatus.NOT_FOUND:
        return _failed("Label Studio has no such file, or the token's user may not see it", "an image that is there")
    what = "a page" if status == HTTPStatus.OK else f"status {status}"
    return _failed(
        f"Label Studio answers with {what} ({quoted(kind)}) in the place of an image",
        "the same task again later; Label Studio's log says why",
    )


def _failed(error: str, expected: str) -> GatewayError:
    return GatewayError(HTTPStatus.BAD_GATEWAY, error, expected)
