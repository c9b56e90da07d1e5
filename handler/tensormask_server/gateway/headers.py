"""Which headers go from a client to the server behind, and back."""

from collections.abc import Iterable, Sequence

Headers = list[tuple[bytes, bytes]]  # in HTTP's order; names of ASGI are in lower case

# they are about one connection, and a gateway has two
OF_CONNECTION = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
OF_REQUEST = {b"host", b"content-length", b"expect", b"x-request-id"}  # the gateway writes its own
CORS = b"access-control-"  # the gateway answers for origins itself


def request_headers(headers: Sequence[tuple[bytes, bytes]], request_id: str) -> Headers:
    """The headers for the server behind, without those about the body's length."""
    return [*_kept(headers, OF_REQUEST), (b"x-request-id", request_id.encode())]


def response_headers(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """The headers for the client."""
    return [each for each in _kept(headers, set()) if not each[0].startswith(CORS)]


def with_token_header(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Headers in which a `Token: KEY`, as some clients send it, has become the `Authorization` of this server."""
    by_name = dict(headers)
    token = by_name.get(b"token", b"").strip()
    if not token or b"authorization" in by_name:
        return [*headers]
    return [*headers, (b"authorization", b"Bearer " + token)]


def _kept(headers: Iterable[tuple[bytes, bytes]], dropped: set[bytes]) -> Headers:
    lower = [(name.lower(), value) for name, value in headers]
    named = {word.strip().lower() for name, value in lower if name == b"connection" for word in value.split(b",")}
    return [(name, value) for name, value in lower if name not in OF_CONNECTION | dropped | named]
