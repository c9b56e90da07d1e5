"""The launcher's own client of TorchServe's management API."""

import contextlib
import json
from pathlib import Path

from tensormask_server.regular_files import read_text
from tensormask_server.torchserve.recovery import Workers
from tensormask_server.torchserve.unix_http import UnixConnection

TIMEOUT = 10  # seconds, for one response


class ModelNotFound(Exception):
    """TorchServe doesn't know the model. The message is its name."""


class Management:
    """Queries TorchServe about one of its models."""

    def __init__(self, socket: Path, model: str, key_file: Path | None):
        """
        Args:
            socket: the Unix socket of TorchServe's management API.
            model: the model's name.
            key_file: where TorchServe writes its tokens. None: it requires none.
        """
        self._socket = socket
        self._model = model
        self._path = f"/models/{model}"
        self._key_file = key_file

    def workers(self) -> Workers | None:
        """The model's workers. None: the API doesn't respond now.

        Raises:
            ModelNotFound: TorchServe doesn't know the model.
        """
        status, content = self._get(self._path)
        if status == 400 and self._key_file is not None:  # the token is an hour old
            self._get("/token?type=management", key="API")
            status, content = self._get(self._path)
        if status == 404:
            raise ModelNotFound(self._model)
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
            described = json.loads(content)[0]
            ready = sum(worker["status"] == "READY" for worker in described["workers"])
            ids = frozenset(str(worker["id"]) for worker in described["workers"])
            return Workers(described["minWorkers"], ready, described["maxRetryTimeoutInSec"], ids)
        return None

    def _get(self, path: str, key: str = "management") -> tuple[int, bytes]:
        """The status and the body of TorchServe's response. They are 0 and empty if there is no response."""
        connection = UnixConnection(self._socket, TIMEOUT)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError), contextlib.closing(connection):
            headers = {}
            if self._key_file is not None:
                headers["Authorization"] = f"Bearer {json.loads(read_text(self._key_file))[key]['key']}"
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        return 0, b""
