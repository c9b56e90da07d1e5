"""Heads and the starts of bodies in one write."""

import asyncio
from typing import Any, cast

import httpcore
import pytest
from tensormask_server.gateway import joined_writes
from tensormask_server.gateway.joined_writes import HeldHead, JoiningBackend

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Connection:
    """A transport that keeps what is done with it."""

    def __init__(self) -> None:
        self.done: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append(b"closed")

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("writes", "done"),
    [
        ([HEAD, b"body"], [HEAD + b"body"]),
        ([HEAD, b"a", b"b"], [HEAD + b"a", b"b"]),
        ([HEAD, None, b"body"], [HEAD, b"body"]),  # the body comes later
        ([HEAD, None, None, b"a", b"b"], [HEAD, b"a", b"b"]),
        ([HEAD, None], [HEAD]),  # no body
    ],
)
def test_a_response_begins_with_one_write_and_waits_for_no_body(writes: list[bytes | None], done: list[bytes]) -> None:
    async def respond() -> list[bytes]:
        connection = Connection()
        held = HeldHead(cast(asyncio.Transport, connection), asyncio.get_running_loop())
        for data in writes:
            if data is None:
                await asyncio.sleep(0)
            else:
                held.write(data)
        await asyncio.sleep(0)
        return connection.done

    assert asyncio.run(respond()) == done


def test_a_head_is_written_before_its_connection_is_closed() -> None:
    async def respond() -> list[bytes]:
        connection = Connection()
        held = HeldHead(cast(asyncio.Transport, connection), asyncio.get_running_loop())
        held.write(HEAD)
        held.close()
        await asyncio.sleep(0)
        return connection.done

    assert asyncio.run(respond()) == [HEAD, b"closed"]


class Stream:
    """A connection to a server, which keeps what is written, and whose writes may fail."""

    def __init__(self, is_broken: bool = False):
        self.writes: list[bytes] = []
        self._is_broken = is_broken

    async def write(self, buffer: bytes, *_: Any) -> None:
        if self._is_broken:
            raise httpcore.WriteError
        self.writes.append(buffer)

    async def read(self, *_: Any) -> bytes:
        return b"read"

    async def aclose(self) -> None:
        self.writes.append(b"closed")


@pytest.mark.parametrize(
    ("steps", "writes"),
    [
        ([b"head", b"body"], [b"headbody"]),
        ([b"head", b"a", b"b", None], [b"heada", b"b"]),
        ([b"head", b"", None, b"head", b"", None], [b"head", b"head"]),
        ([b"head", None, None, b"next", b"body", None], [b"head", b"nextbody"]),  # no body, and two reads
    ],
)
def test_a_request_begins_with_one_write(steps: list[bytes | None], writes: list[bytes]) -> None:
    async def send() -> list[bytes]:
        stream = Stream()
        joining = joined_writes._Joining(cast(httpcore.AsyncNetworkStream, stream))
        for step in steps:
            if step is None:
                assert await joining.read(10) == b"read"
            else:
                await joining.write(step)
        return stream.writes

    assert asyncio.run(send()) == writes


def test_a_response_is_read_also_if_the_request_could_not_be_written() -> None:
    async def send() -> bytes:
        joining = joined_writes._Joining(cast(httpcore.AsyncNetworkStream, Stream(is_broken=True)))
        await joining.write(b"head")
        return await joining.read(10)

    assert asyncio.run(send()) == b"read"


def test_the_backend_joins_on_a_real_connection() -> None:
    """The server has read nothing before the second write, so it reads what the first one would have had."""

    async def exchange() -> tuple[bytes, bytes]:
        received = asyncio.Queue[bytes]()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await received.put(await reader.read(100))
            writer.write(b"response")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            stream = await JoiningBackend().connect_tcp("127.0.0.1", server.sockets[0].getsockname()[1])
            await stream.write(b"head")
            for _ in range(10):
                await asyncio.sleep(0.01)
            assert received.empty()
            await stream.write(b"body")
            response = await stream.read(100)
            await stream.aclose()
            return received.get_nowait(), response

    assert asyncio.run(exchange()) == (b"headbody", b"response")
