"""A body that comes too slowly is refused, also if its beginning came fast."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

import pytest
from starlette.types import Message
from tensormask_server.gateway.body import Body
from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.settings import Settings

SECONDS = 59  # between two parts of a body: less than the idle time


class Clock:
    """Stands for the module time."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def read(sizes: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> int:
    """Reads a body of parts of these sizes, and returns its size."""
    coming, clock = iter(enumerate(sizes, start=1)), Clock()
    monkeypatch.setattr("tensormask_server.gateway.body.time", clock)

    async def receive() -> Message:
        number, size = next(coming)
        clock.now += SECONDS
        return {"type": "http.request", "body": bytes(size), "more_body": number < len(sizes)}

    async def size_of_all() -> int:
        body = Body({"type": "http", "headers": [(b"transfer-encoding", b"chunked")]}, receive, Settings())
        return sum([len(piece) async for piece in body.pieces()])

    return asyncio.run(size_of_all())


@pytest.mark.parametrize("first", [1, 1 << 25])
def test_a_byte_now_and_then_is_too_slow(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GatewayError) as caught:
        read([first, *[1] * 5], monkeypatch)
    assert caught.value.status == HTTPStatus.REQUEST_TIMEOUT


def test_a_steady_body_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read([1 << 20] * 12, monkeypatch) == 12 << 20
