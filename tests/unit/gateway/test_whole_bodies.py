"""Bodies that are read whole have a limit together, and give their bytes back however they end."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from http import HTTPStatus

import pytest
from starlette.types import Message
from tensormask_server.gateway.body import Body
from tensormask_server.gateway.errors import ClientGoneError, GatewayError
from tensormask_server.gateway.settings import Settings
from tensormask_server.gateway.whole_bodies import WholeBodies

GONE = {"type": "http.disconnect"}


def body_of(messages: Iterable[Message]) -> Body:
    coming = iter(messages)

    async def receive() -> Message:
        return next(coming, GONE)

    return Body({"type": "http", "headers": [(b"transfer-encoding", b"chunked")]}, receive, Settings())


def pieces(*contents: bytes) -> list[Message]:
    return [
        {"type": "http.request", "body": content, "more_body": index < len(contents)}
        for index, content in enumerate(contents, start=1)
    ]


async def read(bodies: WholeBodies, *contents: bytes) -> bytes:
    async with bodies.read(body_of(pieces(*contents))) as whole:
        return whole


def test_a_body_comes_whole() -> None:
    bodies = WholeBodies(200_000)
    assert asyncio.run(read(bodies, b"a" * 70_000, b"b" * 70_000, b"c")) == b"a" * 70_000 + b"b" * 70_000 + b"c"
    assert asyncio.run(read(bodies, b"")) == b""


def test_what_is_too_much_together_is_a_503_until_another_one_ends() -> None:
    async def try_three() -> AsyncIterator[int]:
        bodies = WholeBodies(100)
        async with AsyncExitStack() as held:
            await held.enter_async_context(bodies.read(body_of(pieces(b"x" * 60))))
            with pytest.raises(GatewayError) as raised:
                await read(bodies, b"y" * 41)
            assert raised.value.status == HTTPStatus.SERVICE_UNAVAILABLE
            assert raised.value.headers["Retry-After"] == "1"
            yield len(await read(bodies, b"y" * 40))
        yield len(await read(bodies, b"y" * 100))

    async def collected() -> list[int]:
        return [each async for each in try_three()]

    assert asyncio.run(collected()) == [40, 100]


def test_a_client_that_goes_away_gives_its_bytes_back() -> None:
    async def leave_and_read() -> bytes:
        bodies = WholeBodies(100_000)
        for _ in range(3):
            with pytest.raises(ClientGoneError):
                async with bodies.read(body_of([*pieces(b"x" * 66_000, b"never")[:1], GONE])):
                    pytest.fail("the body has no end")
        return await read(bodies, b"y" * 100_000)

    assert len(asyncio.run(leave_and_read())) == 100_000
