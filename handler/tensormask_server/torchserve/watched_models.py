"""The models of one TorchServe while it runs: which worker process is whose, and which model has a ready worker."""

import contextlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil

from tensormask_server.torchserve.management import Management
from tensormask_server.torchserve.recovery import Recovery, Workers

WORKER = "model_service_worker.py"  # TorchServe's program for a worker
SOCKET_NUMBER = re.compile(r"\.ts\.sock\.(\d+)$")  # of a worker's socket: the worker's id in the management API


class WorkerProcess(NamedTuple):
    """One worker's process."""

    pid: int
    id: str  # of the worker in the management API; a worker that is started again keeps it
    folder: str  # of the unpacked model, which no other model has


@dataclass
class WatchedModel:
    """One model."""

    name: str
    archive: Path
    management: Management
    recovery: Recovery = field(default_factory=Recovery)
    failure: str = ""  # why its last worker couldn't load it
    slow_precision: str = ""  # a worker's warning, in one line
    is_ready: bool = False  # whether a worker was, at the last look
    folder: str = ""  # of its workers, once one is known

    def note(self, workers: Workers, processes: Collection[WorkerProcess], now: float) -> None:
        """Notes the model's workers of one moment.

        Args:
            workers: as the management API describes them, at the same moment or later.
            processes: the model's.
            now: seconds, on the monotonic clock.
        """
        self.is_ready = workers.ready > 0
        self.recovery.note([each.pid for each in processes], workers, now)


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


def processes_of(
    model: WatchedModel, models: Sequence[WatchedModel], processes: Collection[WorkerProcess], ids: Collection[str] = ()
) -> list[WorkerProcess]:
    """The worker processes of one model.

    Args:
        model: one of the models. The first process that is known to be its own shows its folder.
        models: all models of the server. An only model has all workers.
        processes: of all models.
        ids: of the model's workers, if the management API has just named them.
    """
    if len(models) == 1:
        return list(processes)
    if not model.folder:
        model.folder = next((each.folder for each in processes if each.id in ids), "")
    return [each for each in processes if model.folder and each.folder == model.folder]
