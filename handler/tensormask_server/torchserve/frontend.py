"""TorchServe's frontend: the Java process, the command that starts it, and what it prints."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from tensormask_server import tied
from tensormask_server.torchserve.request_id_header import classes_without_request_id

STOP_SECONDS = 20  # Java's time to end after SIGTERM
LINES = 1000  # the last lines that TorchServe printed
NO_WORKFLOWS = "/dev/null"  # no file can be in it, so that no workflow, which is code, can be registered


def frontend_command(
    java: Path, config: Path, store: Path, temporary: Path, private: Path, models: Sequence[str], vmargs: str
) -> list[str]:
    """Makes the command that starts Java. It leaves out TorchServe's Python wrapper, which trusts its working folder.

    Args:
        java: Java's home.
        config: TorchServe's config.properties.
        store: the folder with the archive NAME.mar of each model.
        temporary: the folder for temporary files and the unpacked models.
        private: a folder for our version of one of TorchServe's classes.
        models: their names.
        vmargs: options for Java, separated by spaces.

    Returns:
        The command. The process that it starts ends with this one.
    """
    spec = find_spec("ts")
    assert spec is not None and spec.origin is not None
    home = Path(spec.origin).parent.parent
    jars = home / "ts" / "frontend"
    classes = classes_without_request_id(jars / "model-server.jar", private)
    class_path = f"{classes}:{jars}/*" if classes else f"{jars}/*"
    return [
        *(sys.executable, "-I", tied.__file__, str(os.getpid())),
        *(str(java / "bin" / "java"), f"-Dmodel_server_home={home}", f"-Djava.io.tmpdir={temporary}"),
        *vmargs.split(),
        *("-cp", class_path, "org.pytorch.serve.ModelServer", "--python", sys.executable),
        *("-f", str(config), "-s", str(store), "-w", NO_WORKFLOWS, "-ncs", "-m"),
        *(f"{model}={model}.mar" for model in models),
    ]


@contextlib.contextmanager
def running_frontend(
    command: list[str], folder: Path, log_dir: Path, temporary: Path, variables: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Starts the frontend. Afterwards it sends SIGTERM, waits, and kills what is left of the process group.

    Args:
        command: as `frontend_command` gives it.
        folder: the working directory, which nobody else can write to.
        log_dir: for TorchServe's logs.
        temporary: the folder for the workers' temporary files.
        variables: environment variables for the workers.

    Yields:
        The process. Its stdout and stderr are one pipe.
    """
    logs = str(log_dir.resolve())
    environment = {**os.environ, **variables, "TMPDIR": str(temporary), "TEMP": str(temporary)}
    environment |= {"LOG_LOCATION": logs, "METRICS_LOCATION": logs}
    environment["LC_ALL"] = "C.UTF-8"  # with it, Java opens files of any name
    environment["PYTHONSAFEPATH"] = "1"
    environment.pop("TS_CONFIG_FILE", None)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a process group of its own: Ctrl-C reaches only us, and the group can be killed
    )
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Console:
    """Reads what TorchServe prints, and keeps the last lines.

    The lines are for people. No decision may depend on them, because they hold what clients send.
    """

    def __init__(self, stream: IO[str]):
        """
        Args:
            stream: the process's output.
        """
        self._last: deque[str] = deque(maxlen=LINES)
        self._reading = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reading.start()

    def last_lines(self) -> list[str]:
        """The last lines of a process that has ended."""
        self._reading.join(timeout=STOP_SECONDS)
        return list(self._last)

    def _read(self, stream: IO[str]) -> None:
        with stream:
            self._last.extend(stream)
