"""One TorchServe: started, watched until a worker is ready, and stopped with all that it started."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import psutil

from tensormask_server import tied
from tensormask_server.printable import one_line, printable, say
from tensormask_server.regular_files import read_text, write_whole
from tensormask_server.reports import FAILED, SLOW, Reports
from tensormask_server.torchserve.addresses import (
    AddressError,
    check_owner,
    check_port,
    check_ports_differ,
    port_of,
    unusable,
)
from tensormask_server.torchserve.java import java_home
from tensormask_server.torchserve.private_folder import KEY_FILE, FolderError, PrivateFolder
from tensormask_server.torchserve.properties import write_properties
from tensormask_server.torchserve.recovery import Recovery, Workers
from tensormask_server.torchserve.relay import ManagementRelay
from tensormask_server.torchserve.served_archive import ArchiveUnusable, check_archive, model_name, served_model
from tensormask_server.torchserve.sockets import close_all_but, count_in_hand, refuse_new
from tensormask_server.torchserve.unix_http import UnixConnection

STOP_SECONDS = 20
LOOK_SECONDS = 1  # between two looks at the worker processes
GRPC_LOOKS = 20  # at gRPC's ports after they are hidden, for connections that were made before
LINES = 1000  # of what TorchServe printed last
NO_WORKFLOWS = "/dev/null"  # no file can be in it, so that no workflow, which is code, can be registered


class TorchServeError(Exception):
    """A TorchServe that doesn't start or has ended; the message has one line."""


class TorchServe:
    """A TorchServe process with one model. Use it as a context manager: leaving it leaves nothing running."""

    def __init__(self, archive: Path, properties: Mapping[str, str], log_dir: Path):
        """
        Args:
            archive: the .mar; the model's name is made from the file's.
            properties: of config.properties. The management address is the relay's.
            log_dir: for TorchServe's logs, and where it ends by itself the last of what it printed, in console.log.
        """
        self.name = model_name(archive)
        self.log_dir = log_dir
        self._archive = archive.resolve()
        self._properties = dict(properties)
        self._failure = ""  # why the last worker couldn't load the model
        self._files: list[Path] = []  # of the unpacked model
        self._grpc_looks = GRPC_LOOKS
        self.slow_precision = ""  # what a worker has warned of, in one line

    @property
    def url(self) -> str:
        """Of the inference address."""
        return self._properties["inference_address"]

    @property
    def certificate(self) -> str | None:
        """The file that a client may trust instead of its system's authorities; None without TLS."""
        return self._properties.get("certificate_file")

    @property
    def has_tokens(self) -> bool:
        return self._properties.get("disable_token_authorization", "false") != "true"

    @property
    def key_file(self) -> Path:
        """Where TorchServe writes its tokens, if it has any."""
        return self._folder / KEY_FILE

    @property
    def frontend(self) -> psutil.Process:
        """The Java process, of one that has been entered.

        Raises:
            TorchServeError: it has ended.
        """
        try:
            return psutil.Process(self._process.pid)
        except psutil.Error:
            self._check_alive()
            raise

    def __enter__(self) -> "TorchServe":
        """
        Raises:
            TorchServeError: a port is taken, the archive isn't there or isn't whole, its answers may be too large, or
                the logs can't be written.
            JavaNotFound: there is no Java.
        """
        self._open = contextlib.ExitStack()
        try:
            self._start()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def wait_until_ready(self, timeout: float = 600) -> None:
        """Returns when a worker answers: only its state tells, /ping says Healthy from the start.

        Raises:
            TorchServeError: the model can't be loaded, TorchServe has ended, or the time, in seconds, is up.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self._check_alive()
            self._hide_grpc()
            if self._look():
                self._files = self._unpacked()
                self._relay.takes_changes.set()
                return
            if self._failure:
                raise TorchServeError(f"the model can't be loaded: {self._failure}")
            if self._recovery.tries_failed:
                raise TorchServeError(f"a worker died while loading the model; see {self.log_dir / 'model_log.log'}")
            time.sleep(0.1)
        raise TorchServeError(f"no worker was ready after {timeout:g} s; see the logs in {self.log_dir}")

    def wait(self) -> None:
        """Returns never: raises when TorchServe has ended, or can't go on.

        Raises:
            TorchServeError: it has ended, no worker could be started again, or the unpacked model was deleted.
        """
        looked_at: frozenset[int] | None = None  # the worker processes when one was last found ready
        while self._process.poll() is None:
            self._hide_grpc()
            if missing := next((path for path in self._files if not path.exists()), None):
                raise TorchServeError(f"a file of the unpacked model was deleted: {missing}; start the server again")
            pids = self._worker_pids()
            if pids != looked_at:
                looked_at = pids if self._look() else None
            if self._recovery.has_ended(time.monotonic()):
                reason = self._failure or f"see {self.log_dir / 'model_log.log'}"
                raise TorchServeError(f"no worker could be started again: {reason}")
            time.sleep(LOOK_SECONDS)
        self._check_alive()

    def finish(self, timeout: float) -> None:
        """Takes no new connections, and returns when the requests in hand are answered, or the time, in seconds, is up.

        TorchServe itself breaks them off when it is asked to end.
        """
        port = port_of(self.url)
        with contextlib.suppress(psutil.Error):
            frontend = psutil.Process(self._process.pid)
            if refuse_new(frontend, port):
                counted, wanted = "requests", "answered"
            else:
                counted, wanted = "connections, some of them perhaps idle,", "closed"
                say("new connections can't be refused, nor idle ones told: this system doesn't allow pidfd_getfd")
            end = time.monotonic() + timeout
            if count := count_in_hand(frontend, port):
                say(f"stopping when {count} {counted} in hand are {wanted}, at most {timeout:g} s")
            while count and time.monotonic() < end:
                time.sleep(0.05)
                count = count_in_hand(frontend, port)
            if count:
                say(f"{count} {counted} were not {wanted} in {timeout:g} s and are broken off")

    def _start(self) -> None:
        java = java_home()
        try:
            check_ports_differ(self._properties)
            for key in ("inference_address", "metrics_address"):
                check_port(key, self._properties[key])
            self._folder = self._open.enter_context(PrivateFolder(str(port_of(self._properties["management_address"]))))
            check_archive(self._archive, self._properties, self._folder)
            self.log_dir.mkdir(parents=True, exist_ok=True)
            check_owner(self.log_dir)
        except (AddressError, FolderError, ArchiveUnusable) as error:
            raise TorchServeError(str(error)) from error
        except OSError as error:
            raise TorchServeError(
                f"can't use {printable(self.log_dir)} as the folder of the logs: {error.strerror}"
            ) from error
        self._reports = self._open.enter_context(Reports(self._folder))
        self._recovery = Recovery()
        self._management = self._folder / "management.sock"
        self._relay = self._open.enter_context(self._made_relay())
        self._process = self._open.enter_context(self._running(self._prepared_command(java)))
        assert self._process.stdout is not None
        self._printed = _Printed(self._process.stdout)

    def _made_relay(self) -> ManagementRelay:
        address = self._properties["management_address"]
        most_workers = max(4, 2 * (os.cpu_count() or 1), served_model(self._archive).workers)
        try:
            return ManagementRelay(
                ("127.0.0.1", port_of(address)), self._management, most_workers, lambda: len(self._worker_pids())
            )
        except OSError as error:
            raise TorchServeError(str(unusable("management_address", address, error))) from error

    def _prepared_command(self, java: Path) -> list[str]:
        """Java's, without TorchServe's Python wrapper: that one trusts the folder that it is started in."""
        temporary, store = self._folder / "tmp", self._folder / "store"
        for folder in (temporary, store):
            folder.mkdir()
        (store / f"{self.name}.mar").symlink_to(self._archive)
        config = self._folder / "config.properties"
        properties = {**self._properties, "management_address": f"unix:{self._management}"}
        write_properties(config, {**properties, "model_store": str(store), "workflow_store": NO_WORKFLOWS})
        found = find_spec("ts")
        assert found is not None and found.origin is not None
        home = Path(found.origin).parent.parent
        command = [str(java / "bin" / "java"), f"-Dmodel_server_home={home}", f"-Djava.io.tmpdir={temporary}"]
        command += self._properties.get("vmargs", "").split()
        command += ["-cp", f"{home}/ts/frontend/*", "org.pytorch.serve.ModelServer", "--python", sys.executable]
        command += [
            "-f",
            str(config),
            "-s",
            str(store),
            "-w",
            NO_WORKFLOWS,
            "-ncs",
            "-m",
            f"{self.name}={self.name}.mar",
        ]
        return [sys.executable, "-I", tied.__file__, str(os.getpid()), *command]

    @contextlib.contextmanager
    def _running(self, command: list[str]) -> Iterator[subprocess.Popen[str]]:
        """The frontend; at the end it is asked to end, waited for, and whatever is left of its group is killed."""
        logs = str(self.log_dir.resolve())
        temporary = str(self._folder / "tmp")
        environment = {**os.environ, **self._reports.environment, "TMPDIR": temporary, "TEMP": temporary}
        environment |= {"LOG_LOCATION": logs, "METRICS_LOCATION": logs}
        environment["LC_ALL"] = "C.UTF-8"  # in which Java opens files of any name
        environment["PYTHONSAFEPATH"] = "1"
        environment.pop("TS_CONFIG_FILE", None)
        process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # a group of its own: a Ctrl-C reaches us alone, and the group can be ended
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

    def _check_alive(self) -> None:
        if self._process.poll() is not None:
            lines = self._printed.last_lines()
            causes = [line.strip() for line in lines if "Exception:" in line or "Error:" in line]
            console = self.log_dir / "console.log"
            with contextlib.suppress(OSError):
                write_whole(console, lambda file: file.write("".join(lines).encode()))
            cause = one_line(causes[-1], 500) if causes else "not by us"
            raise TorchServeError(f"torchserve has ended: {cause} (see {printable(console)})")

    def _look(self) -> bool:
        """Looks at the workers, and then reads what they have reported. Whether one is ready."""
        pids = self._worker_pids()
        workers = self._described()
        if workers is not None:
            self._recovery.see(pids, workers, time.monotonic())
        for report in self._reports.read():
            if report.kind == FAILED:
                self._failure = one_line(report.text)
            elif report.kind == SLOW:
                self.slow_precision = one_line(report.text)
        return workers is not None and workers.ready > 0

    def _worker_pids(self) -> frozenset[int]:
        with contextlib.suppress(psutil.Error):
            return frozenset(child.pid for child in psutil.Process(self._process.pid).children() if _is_worker(child))
        return frozenset()

    def _described(self) -> Workers | None:
        """None while the management API doesn't answer.

        Raises:
            TorchServeError: it knows no such model.
        """
        status, content = self._managed(f"/models/{self.name}")
        if status == 400 and self.has_tokens:  # the token is an hour old
            self._managed("/token?type=management", key="API")
            status, content = self._managed(f"/models/{self.name}")
        if status == 404:
            raise TorchServeError(f"TorchServe couldn't unpack or read the archive; see {self.log_dir / 'ts_log.log'}")
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
            described = json.loads(content)[0]
            ready = sum(worker["status"] == "READY" for worker in described["workers"])
            return Workers(described["minWorkers"], ready, described["maxRetryTimeoutInSec"])
        return None

    def _managed(self, path: str, key: str = "management") -> tuple[int, bytes]:
        """The status and the content of TorchServe's answer; 0 without one."""
        connection = UnixConnection(self._management, timeout=10)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError), contextlib.closing(connection):
            headers = {}
            if self.has_tokens:
                headers["Authorization"] = f"Bearer {json.loads(read_text(self.key_file))[key]['key']}"
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        return 0, b""

    def _hide_grpc(self) -> None:
        """TorchServe opens two ports for gRPC on loopback, which nothing here uses and nothing turns off."""
        if self._grpc_looks == 0:
            return
        ports = {port_of(self._properties[key]) for key in ("inference_address", "metrics_address")}
        with contextlib.suppress(OSError, psutil.Error):
            if close_all_but(psutil.Process(self._process.pid), ports):
                self._grpc_looks -= 1

    def _unpacked(self) -> list[Path]:
        return [path for path in (self._folder / "tmp" / "models").rglob("*") if path.suffix != ".pyc"]


class _Printed:
    """What TorchServe prints, read as it comes. Only its last lines are kept, for people: clients can write to it."""

    def __init__(self, stream: IO[str]):
        self._last: deque[str] = deque(maxlen=LINES)
        self._reading = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reading.start()

    def last_lines(self) -> list[str]:
        """Of a process that has ended."""
        self._reading.join(timeout=STOP_SECONDS)
        return list(self._last)

    def _read(self, stream: IO[str]) -> None:
        with stream:
            self._last.extend(stream)


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(word.endswith("model_service_worker.py") for word in process.cmdline())
    return False
