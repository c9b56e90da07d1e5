"""Requests to a server behind the gateway, and its responses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Message
from tensormask_server.gateway import upstream as module
from tensormask_server.gateway.body import Body
from tensormask_server.gateway.settings import Settings
from tensormask_server.gateway.upstream import Upstream, UpstreamRequest

KEPT_SECONDS = 0.05


@asynccontextmanager
async def upstream_of(heads: list[bytes], connections: int = 100) -> AsyncIterator[Upstream]:
    """A server that answers /slow after its kept connections have expired; it notes the heads that it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                heads.append(head)
                if b" /slow " in head:
                    await asyncio.sleep(4 * KEPT_SECONDS)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        upstream = Upstream(Settings(upstream=url, connections=connections))
        yield upstream
        await upstream.aclose()


async def answered(upstream: Upstream, target: bytes, method: str = "GET") -> bytes:
    """The body of the response to a client that goes as soon as it has it."""
    has_all = asyncio.Event()
    content = bytearray()

    async def receive() -> Message:
        await has_all.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        content.extend(message.get("body", b""))
        if message["type"] == "http.response.body" and not message["more_body"]:
            has_all.set()

    body = Body({"type": "http", "headers": []}, receive, Settings())
    await upstream.pass_on(UpstreamRequest(method, target, [], None), body, send)
    return bytes(content)


@pytest.mark.parametrize("others", [0, 1, 3, 8])
def test_a_client_that_goes_with_the_last_byte_has_had_its_whole_response(
    others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the connections of others expire, which closing the response takes care of."""
    monkeypatch.setattr(module, "KEPT_SECONDS", KEPT_SECONDS)

    async def requests() -> list[bytes]:
        async with upstream_of([]) as upstream:
            await asyncio.gather(*(answered(upstream, b"/") for _ in range(others)))
            return [await answered(upstream, b"/slow"), await answered(upstream, b"/")]

    assert asyncio.run(requests()) == [b"hi", b"hi"]


@pytest.mark.parametrize(("method", "has_length"), [("GET", False), ("POST", True), ("PUT", True)])
def test_a_request_without_a_body_says_so(method: str, has_length: bool) -> None:
    heads: list[bytes] = []

    async def request() -> None:
        async with upstream_of(heads) as upstream:
            await answered(upstream, b"/a?b=1", method)

    asyncio.run(request())
    [head] = heads
    assert head.startswith(f"{method} /a?b=1 HTTP/1.1\r\n".encode())
    assert (b"content-length: 0\r\n" in head.lower()) == has_length


def test_a_body_that_does_not_come_takes_no_connection_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_SECONDS", 0.1)
    heads: list[bytes] = []

    async def no_message() -> Message:
        return await asyncio.Future()

    async def no_send(_: Message) -> None:
        raise AssertionError("there is nothing to respond to")

    async def requests() -> bytes:
        async with upstream_of(heads, connections=1) as upstream:
            body = Body({"type": "http", "headers": [(b"transfer-encoding", b"chunked")]}, no_message, Settings())
            request = UpstreamRequest("POST", b"/silent", [], body.pieces())
            silent = asyncio.ensure_future(upstream.pass_on(request, body, no_send))
            await asyncio.sleep(0.1)
            content = await answered(upstream, b"/")
            silent.cancel()
            await asyncio.wait({silent})
            return content

    assert asyncio.run(requests()) == b"hi"
    assert [head.split()[1] for head in heads] == [b"/"]
