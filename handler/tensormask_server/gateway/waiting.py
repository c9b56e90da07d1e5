"""Waits for the server behind the gateway, which listens meanwhile, and says what it waits for."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from tensormask_server.gateway.errors import NotReadyError
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.status import ready

PAUSE_SECONDS = 0.5
AGAIN_SECONDS = 60.0  # after which the same reason is said again

SayState = Callable[[str], None]  # takes the reason why the server isn't ready, and "" once it is


@asynccontextmanager
async def waiting(gateway: Gateway, say_state: SayState) -> AsyncIterator[None]:
    """Says beside other work whether the server behind is ready, until it is so for the first time.

    Args:
        gateway: before the server.
        say_state: is called with each new reason, and at last with "".
    """
    task = asyncio.create_task(_wait(gateway, say_state))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _wait(gateway: Gateway, say_state: SayState) -> None:
    said, at = "", 0.0
    while True:
        try:
            await ready(gateway)
        except NotReadyError as error:
            if error.because != said or time.monotonic() > at + AGAIN_SECONDS:
                said, at = error.because, time.monotonic()
                say_state(said)
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            say_state("")
            return
