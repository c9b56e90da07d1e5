"""Starts one TorchServe, waits until a worker is ready, watches it, and stops it with all that it started."""

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from tensormask_server.printable import one_line, printable
from tensormask_server.regular_files import write_whole
from tensormask_server.reports import FAILED, FASTER, SLOW, Reports
from tensormask_server.torchserve.addresses import (
    AddressError,
    check_port,
    check_ports_differ,
    port_of,
    unusable_address,
)
from tensormask_server.torchserve.draining import finish_requests
from tensormask_server.torchserve.frontend import NO_WORKFLOWS, Console, frontend_command, running_frontend
from tensormask_server.torchserve.java import java_home
from tensormask_server.torchserve.log_folder import LogFolderError, log_folder
from tensormask_server.torchserve.management import Management, ModelNotFound
from tensormask_server.torchserve.private_folder import KEY_FILE, FolderError, PrivateFolder
from tensormask_server.torchserve.properties import requires_tokens, write_properties
from tensormask_server.torchserve.recovery import Recovery
from tensormask_server.torchserve.relay import ManagementRelay
from tensormask_server.torchserve.request_log_output import RequestLogError, request_log_output
from tensormask_server.torchserve.served_archive import ArchiveUnusable, check_archive, model_name, served_model
from tensormask_server.torchserve.sockets import close_all_but

LOOK_SECONDS = 1  # between two looks at the worker processes
GRPC_LOOKS = 20  # looks at gRPC's ports after they are closed, for connections that were made before


class TorchServeError(Exception):
    """TorchServe doesn't start, or it has ended. The message has one line."""


class TorchServe:
    """A TorchServe process with one model. Use it as a context manager, which ends all its processes."""

    def __init__(self, archive: Path, properties: Mapping[str, str], log_dir: Path, request_log: str = ""):
        """
        Args:
            archive: the .mar. The model's name is made from the file's name.
            properties: of config.properties. The management address becomes the relay's.
            log_dir: for TorchServe's logs. If TorchServe ends by itself, console.log there has the last lines that it
                printed. While another server writes its logs there, `log_dir/PORT` is used, with the management port.
            request_log: the file of the log of requests, or "-" for stdout. "": there is none.
        """
        self.name = model_name(archive)
        self.log_dir = log_dir
        self._archive = archive.resolve()
        self._request_log = request_log
        self._properties = dict(properties)
        self._failure = ""  # why the last worker couldn't load the model
        self._files: list[Path] = []  # of the unpacked model
        self._grpc_looks = GRPC_LOOKS
        self.slow_precision = ""  # a worker's warning, in one line
        self.faster_precision = ""  # a worker's advice, in one line

    @property
    def url(self) -> str:
        """The URL of the inference address."""
        return self._properties["inference_address"]

    @property
    def certificate(self) -> str | None:
        """The file that a client may trust instead of its system's authorities. None: there is no TLS."""
        return self._properties.get("certificate_file")

    @property
    def has_tokens(self) -> bool:
        """Whether a request needs a token."""
        return requires_tokens(self._properties)

    @property
    def key_file(self) -> Path:
        """Where TorchServe writes its tokens, if it has any."""
        return self._folder / KEY_FILE

    @property
    def frontend(self) -> psutil.Process:
        """The Java process. It exists only inside the context manager.

        Raises:
            TorchServeError: it has ended.
        """
        try:
            return psutil.Process(self._process.pid)
        except psutil.Error:
            self._check_alive()
            raise

    def __enter__(self) -> "TorchServe":
        """Starts TorchServe.

        Raises:
            TorchServeError: a port is taken, the archive isn't there or isn't whole, its responses may be too large, or
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
        """Returns when a worker is ready. TorchServe's /ping isn't used, because it says Healthy from the start.

        Args:
            timeout: in seconds.

        Raises:
            TorchServeError: the model can't be loaded, TorchServe has ended, or the time is up.
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
        """Waits until TorchServe has ended or can't go on. It never returns.

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
        """Refuses new connections. It returns when the requests in hand have their responses, or after the timeout.

        Without this, TorchServe breaks them off when it ends.

        Args:
            timeout: in seconds.
        """
        with contextlib.suppress(psutil.Error):
            finish_requests(psutil.Process(self._process.pid), port_of(self.url), timeout)

    def _start(self) -> None:
        java = java_home()
        management_port = port_of(self._properties["management_address"])
        try:
            check_ports_differ(self._properties)
            for key in ("inference_address", "metrics_address"):
                check_port(key, self._properties[key])
            self._folder = self._open.enter_context(PrivateFolder(str(management_port)))
            check_archive(self._archive, self._properties, self._folder)
            self.log_dir = self._open.enter_context(log_folder(self.log_dir, management_port))
            request_log = self._open.enter_context(request_log_output(self._request_log, self._folder))
        except (AddressError, FolderError, ArchiveUnusable, LogFolderError, RequestLogError) as error:
            raise TorchServeError(str(error)) from error
        reports = self._reports = self._open.enter_context(Reports(self._folder))
        self._recovery = Recovery()
        upstream = self._folder / "management.sock"
        self._management = Management(upstream, self.name, self.key_file if self.has_tokens else None)
        self._relay = self._open.enter_context(self._made_relay(upstream))
        temporary = self._folder / "tmp"
        command = self._prepared_command(java, temporary, upstream)
        variables = {**reports.environment, **request_log}
        frontend = running_frontend(command, self._folder, self.log_dir, temporary, variables)
        self._process = self._open.enter_context(frontend)
        assert self._process.stdout is not None
        self._console = Console(self._process.stdout)

    def _made_relay(self, upstream: Path) -> ManagementRelay:
        address = self._properties["management_address"]
        most_workers = max(4, 2 * (os.cpu_count() or 1), served_model(self._archive).workers)
        try:
            return ManagementRelay(
                ("127.0.0.1", port_of(address)),
                upstream,
                most_workers,
                lambda: len(self._worker_pids()),
                has_tokens=self.has_tokens,
            )
        except OSError as error:
            raise TorchServeError(str(unusable_address("management_address", address, error))) from error

    def _prepared_command(self, java: Path, temporary: Path, upstream: Path) -> list[str]:
        """Java's command, with the files that it names."""
        store = self._folder / "store"
        for folder in (temporary, store):
            folder.mkdir()
        (store / f"{self.name}.mar").symlink_to(self._archive)
        config = self._folder / "config.properties"
        properties = {**self._properties, "management_address": f"unix:{upstream}"}
        write_properties(config, {**properties, "model_store": str(store), "workflow_store": NO_WORKFLOWS})
        vmargs = self._properties.get("vmargs", "")
        return frontend_command(java, config, store, temporary, self._folder, self.name, vmargs)

    def _check_alive(self) -> None:
        if self._process.poll() is not None:
            lines = self._console.last_lines()
            causes = [line.strip() for line in lines if "Exception:" in line or "Error:" in line]
            console = self.log_dir / "console.log"
            with contextlib.suppress(OSError):
                write_whole(console, lambda file: file.write("".join(lines).encode()))
            cause = one_line(causes[-1], 500) if causes else "it printed no error"
            raise TorchServeError(f"torchserve has ended: {cause} (see {printable(console)})")

    def _look(self) -> bool:
        """Notes the workers and what they have reported. It returns whether a worker is ready."""
        pids = self._worker_pids()
        try:
            workers = self._management.workers()
        except ModelNotFound as error:
            raise TorchServeError(
                f"TorchServe couldn't unpack or read the archive; see {self.log_dir / 'ts_log.log'}"
            ) from error
        if workers is not None:
            self._recovery.note(pids, workers, time.monotonic())
        for report in self._reports.read():
            if report.topic == FAILED:
                self._failure = one_line(report.text)
            elif report.topic == SLOW:
                self.slow_precision = one_line(report.text)
            elif report.topic == FASTER:
                self.faster_precision = one_line(report.text)
        return workers is not None and workers.ready > 0

    def _worker_pids(self) -> frozenset[int]:
        with contextlib.suppress(psutil.Error):
            return frozenset(child.pid for child in psutil.Process(self._process.pid).children() if _is_worker(child))
        return frozenset()

    def _hide_grpc(self) -> None:
        """Closes the two gRPC ports that TorchServe opens on loopback. No setting does that, and nothing uses them."""
        if self._grpc_looks == 0:
            return
        ports = {port_of(self._properties[key]) for key in ("inference_address", "metrics_address")}
        with contextlib.suppress(OSError, psutil.Error):
            if close_all_but(psutil.Process(self._process.pid), ports):
                self._grpc_looks -= 1

    def _unpacked(self) -> list[Path]:
        return [path for path in (self._folder / "tmp" / "models").rglob("*") if path.suffix != ".pyc"]


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(word.endswith("model_service_worker.py") for word in process.cmdline())
    return False
