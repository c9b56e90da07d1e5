"""The models of one TorchServe while it runs: which worker process is whose, and which model has a ready worker."""

import contextlib
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from tensormask_server.printable import one_line
from tensormask_server.reports import FAILED, FASTER, SLOW, Report, Reports
from tensormask_server.torchserve.management import Management
from tensormask_server.torchserve.recovery import Recovery

WORKER = "model_service_worker.py"  # TorchServe's program for a worker
SOCKET_NUMBER = re.compile(r"\.ts\.sock\.(\d+)$")  # of a worker's socket: the worker's id in the management API
MOST_UNNOTED = 100  # reports


class WorkerProcess(NamedTuple):
    """One worker's process."""

    pid: int
    id: str  # of the worker in the management API; a worker that is started again keeps it
    folder: str  # of the unpacked model, which no other model has


@dataclass
class WatchedModel:
    """One model."""

    name: str
    management: Management
    recovery: Recovery = field(default_factory=Recovery)
    failure: str = ""  # why its last worker couldn't load it
    slow_precision: str = ""  # a worker's warning, in one line
    faster_precision: str = ""  # a worker's advice, in one line
    is_ready: bool = False  # whether a worker was, at the last look
    folder: str = ""  # of its workers, once one is known


class WatchedModels:
    """All models of a server. Messages name a model only where there are several."""

    def __init__(self, models: Sequence[WatchedModel], reports: Reports):
        """
        Args:
            models: at least one.
            reports: of their workers.
        """
        self._models = models
        self._reports = reports
        self._folders: dict[int, str] = {}  # from a worker's process number to its folder
        self._unnoted: list[Report] = []  # of workers whose model isn't known yet

    def look(self, frontend: int) -> bool:
        """Notes each model's workers and what they have reported.

        Args:
            frontend: the process number of TorchServe's Java.

        Returns:
            Whether each model has a ready worker.

        Raises:
            ModelNotFound: TorchServe doesn't know a model.
        """
        processes = worker_processes(frontend)
        self._folders |= {each.pid: each.folder for each in processes}
        for model in self._models:
            workers = model.management.workers()
            model.is_ready = workers is not None and workers.ready > 0
            if workers is not None:
                if not model.folder:
                    model.folder = next((each.folder for each in processes if each.id in workers.ids), "")
                pids = [each.pid for each in self._own(model, processes)]
                model.recovery.note(pids, workers, time.monotonic())
        reports = [*self._unnoted, *self._reports.read()]
        self._unnoted = [each for each in reports if not self._is_noted(each)][:MOST_UNNOTED]
        return self.unready is None

    @property
    def unready(self) -> WatchedModel | None:
        """The first model that had no ready worker at the last look."""
        return next((model for model in self._models if not model.is_ready), None)

    def loading_fault(self, log: object) -> str:
        """Why a model can't be loaded, while the server starts; "" if nothing says so.

        Args:
            log: the path of the workers' log, for the message.
        """
        for model in self._models:
            if model.failure:
                return f"{self.named(model)}the model can't be loaded: {model.failure}"
            if model.recovery.tries_failed and not model.is_ready:
                return f"{self.named(model)}a worker died while loading the model; see {log}"
        return ""

    def lasting_fault(self, log: object) -> str:
        """Why a model that was served has no worker any more and gets none; "" if each has one or may get one."""
        for model in self._models:
            if model.recovery.has_ended(time.monotonic()):
                return f"{self.named(model)}no worker could be started again: {model.failure or f'see {log}'}"
        return ""

    def slow_precisions(self) -> list[str]:
        """The workers' warnings of a slow precision, each in one line."""
        return [f"{self.named(model)}{model.slow_precision}" for model in self._models if model.slow_precision]

    def faster_precisions(self) -> list[str]:
        """The workers' advice to take a faster precision, each in one line."""
        return [f"{self.named(model)}{model.faster_precision}" for model in self._models if model.faster_precision]

    def count_workers(self, frontend: int, name: str) -> int:
        """The worker processes of the model of this name; 0 if there is no such model."""
        processes = worker_processes(frontend)
        return sum(len(self._own(model, processes)) for model in self._models if model.name == name)

    def named(self, model: WatchedModel) -> str:
        """What begins a message about one of several models. An only model isn't named."""
        return f"{model.name}: " if len(self._models) > 1 else ""

    def _own(self, model: WatchedModel, processes: Collection[WorkerProcess]) -> list[WorkerProcess]:
        """The processes of a model's workers. An only model has all."""
        if len(self._models) == 1:
            return list(processes)
        return [each for each in processes if model.folder and each.folder == model.folder]

    def _is_noted(self, report: Report) -> bool:
        """Notes what a worker has reported, if it is known whose worker that is."""
        folder = self._folders.get(report.pid, "")
        model = next((each for each in self._models if folder and each.folder == folder), None)
        if len(self._models) == 1:
            model = self._models[0]
        if model is None:
            return False
        if report.topic == FAILED:
            model.failure = one_line(report.text)
        elif report.topic == SLOW:
            model.slow_precision = one_line(report.text)
        elif report.topic == FASTER:
            model.faster_precision = one_line(report.text)
        return True


def worker_processes(frontend: int) -> list[WorkerProcess]:
    """The worker processes of all models.

    Args:
        frontend: the process number of TorchServe's Java.
    """
    workers = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(frontend).children():
            with contextlib.suppress(psutil.Error):
                words = child.cmdline()
                if any(word.endswith(WORKER) for word in words):
                    id = next((found[1] for word in words if (found := SOCKET_NUMBER.search(word))), "")
                    workers.append(WorkerProcess(child.pid, id, child.cwd()))
    return workers
