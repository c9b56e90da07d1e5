"""Which models the server behind has, and whether they have workers, as its management API says."""

import asyncio
import time
from pathlib import Path

from tensormask_server.gateway.errors import NotReadyError, bad_request
from tensormask_server.health import NotReady, ready_workers
from tensormask_server.printable import one_line, quoted
from tensormask_server.spelling import did_you_mean

FRESH_SECONDS = 1.0  # for which an answer of the management API is used again


class Models:
    """Reads the management API, at most once a second, however many requests ask."""

    def __init__(self, management_port: int, key_file: Path | None):
        """
        Args:
            management_port: of the server's management API on this machine.
            key_file: as for `ready_workers`.
        """
        self._place = management_port, key_file
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._workers: dict[str, int] = {}  # as last read; empty if that failed
        self._failure = ""
        self._names: tuple[str, ...] = ()  # as last known; they stay while the server starts a worker again

    async def ready(self) -> dict[str, int]:
        """The number of READY workers of each model, at least one each.

        Raises:
            NotReadyError: a model has none, or the management API doesn't respond.
        """
        async with self._reading:
            if time.monotonic() > self._read_at + FRESH_SECONDS:
                try:
                    self._workers, self._failure = await asyncio.to_thread(ready_workers, *self._place), ""
                    self._names = tuple(self._workers)
                except NotReady as error:
                    self._workers, self._failure = {}, one_line(error)
                self._read_at = time.monotonic()
        if self._failure:
            raise NotReadyError(self._failure)
        return self._workers

    async def names(self) -> tuple[str, ...]:
        """The names of the models, at least one.

        Raises:
            GatewayError: they aren't known yet: 503.
        """
        return self._names or tuple(await self.ready())

    async def name_for(self, requested: str | None) -> str:
        """The model for a request.

        Args:
            requested: the name that the request has; None: it has none.

        Raises:
            GatewayError: there is no such model, or there are several and the request names none: 400. The server
                isn't ready: 503.
        """
        names = await self.names()
        if requested is not None and requested not in names:
            names = tuple(await self.ready())  # the server may have started again, with other models
        if requested in names:
            return str(requested)
        listed = ", ".join(names)
        if requested is not None:
            raise bad_request(
                f"model is {quoted(requested)}{did_you_mean(requested, names)}", f"model: one of {listed}"
            )
        if len(names) > 1:
            raise bad_request("the request names no model, and there are several", f"?model= with one of {listed}")
        return names[0]

    def forget(self) -> None:
        """Has the names read again: the server doesn't know one of them any more."""
        self._names = ()
