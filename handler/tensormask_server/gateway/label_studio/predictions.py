"""The predictions for Label Studio's tasks, several at a time."""

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
from starlette.types import Scope

from tensormask_server.gateway.body import Body
from tensormask_server.gateway.errors import GatewayError, bad_request
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.label_studio.images import LabelStudioImages
from tensormask_server.gateway.label_studio.labels import Labelling
from tensormask_server.gateway.label_studio.networks import Network
from tensormask_server.gateway.label_studio.results import Region, regions, request_options
from tensormask_server.gateway.segmentation import segmentation
from tensormask_server.printable import one_line, quoted

AT_ONCE = 4  # tasks
MOST_TASKS = 1000  # of a request; the others wait until Label Studio asks for them again
MOST_LOGGED = 20  # failures of one request
SECONDS = 90.0  # for all tasks of a request; Label Studio waits 100 s
LARGEST_ANSWER = 1 << 26  # bytes of JSON
NONE = b"[]"  # Label Studio makes no prediction of it, and asks for the task again the next time

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What is needed of a task."""

    id: object
    images: Mapping[str, object]  # where they are, by their keys in the task's data
    wrong: str = ""  # how the task looks if it is no task


def tasks_of(tasks: Sequence[object], labellings: Sequence[Labelling]) -> list[Task]:
    """The tasks that one request gets predictions for, without the rest of their data, which may be large."""
    keys = {each.control.key for each in labellings}
    found = []
    for task in tasks[:MOST_TASKS]:
        if isinstance(task, dict) and isinstance(data := task.get("data"), dict):
            found.append(Task(task.get("id"), {key: data[key] for key in keys if key in data}))
        else:
            id = task.get("id") if isinstance(task, dict) else None
            found.append(Task(id, {}, quoted(task)))
    return found


@dataclass(frozen=True)
class Job:
    """One request of Label Studio for predictions."""

    gateway: Gateway
    images: LabelStudioImages
    scope: Scope
    body: Body
    network: Network
    labellings: Sequence[Labelling]
    started: float  # by the clock of the event loop

    async def predictions(self, tasks: Sequence[Task], count: int) -> bytes:
        """Predicts for tasks.

        Args:
            tasks: of a project.
            count: of all tasks in the request, which begins with these.

        Returns:
            The JSON of Label Studio's `results`: a prediction for each task, or an empty list for those that failed or
            weren't reached, because of the limits of time, tasks and bytes. The log has the reasons.

        Raises:
            GatewayError: all of them failed; the first one's reason. Or there was time for none: 504.
            ClientGoneError: the client has gone.
        """
        results = _Results([NONE] * count)
        waiting = enumerate(tasks)
        try:
            async with (
                asyncio.timeout_at(self.started + SECONDS),
                self.images.session() as transport,
                asyncio.TaskGroup() as group,
            ):
                for _ in range(min(AT_ONCE, len(tasks))):
                    group.create_task(self._work(waiting, results, transport))
        except TimeoutError:
            pass
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        results.check()
        return b"[" + b",".join(results.predictions) + b"]"

    async def _work(
        self, waiting: Iterator[tuple[int, Task]], results: "_Results", transport: httpx.AsyncHTTPTransport
    ) -> None:
        for index, task in waiting:
            try:
                results.add(index, await self._prediction(task, transport))
            except GatewayError as error:
                results.fail(task, error)
            if results.is_full():
                return

    async def _prediction(self, task: Task, transport: httpx.AsyncHTTPTransport) -> bytes:
        """The JSON of one prediction."""
        if task.wrong:
            raise bad_request(f"the task is {task.wrong}", "an object with data, as Label Studio sends it")
        found: list[Region] = []
        for key in dict.fromkeys(each.control.key for each in self.labellings):
            if key not in task.images:
                raise bad_request(
                    f"the task's data has no {quoted(key)}",
                    "a task with the image that the labelling configuration names",
                )
            async with self.images.read(transport, task.images[key], task.id) as image:
                for labelling in self.labellings:
                    if labelling.control.key == key:
                        found += await self._regions(labelling, image)
        scores = [each["score"] for each in found]
        prediction: dict[str, Any] = {"model_version": self.network.version, "result": found}
        prediction["score"] = sum(scores) / len(scores) if scores else None
        return await asyncio.to_thread(_json, prediction)

    async def _regions(self, labelling: Labelling, image: bytes) -> list[Region]:
        options = request_options(labelling)
        response = await segmentation(self.gateway, self.scope, self.body, self.network.model, image, options)
        return await asyncio.to_thread(regions, labelling, response)


@dataclass
class _Results:
    """What has been found so far."""

    predictions: list[bytes]  # of JSON, for each task
    size: int = 0  # bytes
    done: int = 0
    failed: int = 0
    first_error: GatewayError | None = None

    def add(self, index: int, prediction: bytes) -> None:
        self.predictions[index] = prediction
        self.size += len(prediction)
        self.done += 1

    def fail(self, task: Task, error: GatewayError) -> None:
        self.first_error = self.first_error or error
        self.failed += 1
        if self.failed > MOST_LOGGED:
            return
        said = map(one_line, (error.error, error.expected))
        logger.warning("Label Studio's task %s: %s; expected %s", quoted(task.id), *said)

    def is_full(self) -> bool:
        return self.size > LARGEST_ANSWER

    def check(self) -> None:
        """
        Raises:
            GatewayError: there are tasks, and no result.
        """
        if self.done < len(self.predictions):
            logger.warning(
                "Label Studio gets predictions for %d of %d tasks, %d failed; retrieve the missing ones again there",
                self.done,
                len(self.predictions),
                self.failed,
            )
        if self.predictions and not self.done:
            raise self.first_error or GatewayError(
                HTTPStatus.GATEWAY_TIMEOUT,
                f"the server predicts for none of {len(self.predictions)} tasks within {SECONDS:g} s",
                "the same request again later",
            )


def _json(prediction: dict[str, Any]) -> bytes:
    return json.dumps(prediction, separators=(",", ":")).encode()
