"""Starts one TorchServe, waits until a worker is ready, watches it, and stops it with all that it started."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tensormask_server.printable import one_line, printable
from tensormask_server.regular_files import write_whole
from tensormask_server.reports import Reports
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
from tensormask_server.torchserve.log_folder import LOGS, LogFolderError, log_folder
from tensormask_server.torchserve.management import Management, ModelNotFound
from tensormask_server.torchserve.private_folder import KEY_FILE, FolderError, PrivateFolder
from tensormask_server.torchserve.properties import requires_tokens, write_properties
from tensormask_server.torchserve.relay import ManagementRelay
from tensormask_server.torchserve.request_log_output import RequestLogError, request_log_output
from tensormask_server.torchserve.served_archive import ArchiveUnusable, check_archives, model_name, served_model
from tensormask_server.torchserve.sockets import close_all_but
from tensormask_server.torchserve.watched_models import WatchedModel, WatchedModels, worker_processes

LOOK_SECONDS = 1  # between two looks at the worker processes
GRPC_LOOKS = 20  # looks at gRPC's ports after they are closed, for connections that were made before


class TorchServeError(Exception):
    """TorchServe doesn't start, or it has ended. The message has one line."""


class TorchServe:
    """A TorchServe process with one model or several. Use it as a context manager, which ends all its processes."""

    def __init__(
        self, archives: Sequence[Path], properties: Mapping[str, str], log_dir: Path | None, request_log: str = ""
    ):
        """
        Args:
            archives: the .mar files, at least one. The name of each model is made from its file's name.
            properties: of config.properties. The management address becomes the relay's.
            log_dir: for TorchServe's logs, as in `log_folder`. If TorchServe ends by itself, console.log there has the
                last lines that it printed.
            request_log: the file of the log of requests, or "-" for stdout. "": there is none.
        """
        self.names = [model_name(archive) for archive in archives]
        self.log_dir = log_dir or LOGS  # where they are is known when the server has started
        self._wanted_log_dir = log_dir
        self._archives = [archive.resolve() for archive in archives]
        self._request_log = request_log
        self._properties = dict(properties)
        self._files: list[Path] = []  # of the unpacked models
        self._grpc_looks = GRPC_LOOKS

    @property
    def url(self) -> str:
        """The URL of the inference address."""
        return self._properties["inference_address"]

    @property
    def local_url(self) -> str:
        """The same for clients on this machine: they can't connect to 0.0.0.0 everywhere."""
        return self.url.replace("//0.0.0.0", "//127.0.0.1")

    @property
    def properties(self) -> Mapping[str, str]:
        """TorchServe's settings."""
        return self._properties

    @property
    def certificate(self) -> str | None:
        """The file that a client may trust instead of its system's authorities. None: there is no TLS."""
        return self._properties.get("certificate_file")

    @property
    def has_tokens(self) -> bool:
        """Whether a request needs a token."""
        return requires_tokens(self._properties)

    @property
    def slow_precisions(self) -> list[str]:
        """The workers' warnings of a slow precision, each in one line."""
        return self._models.slow_precisions()

    @property
    def faster_precisions(self) -> list[str]:
        """The workers' advice to take a faster precision, each in one line."""
        return self._models.faster_precisions()

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
            TorchServeError: a port is taken, an archive isn't there or isn't whole, two have the same name, responses
                may be too large, or the logs can't be written.
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
        """Returns when each model has a ready worker. TorchServe's /ping says Healthy from the start, and isn't used.

        Args:
            timeout: in seconds.

        Raises:
            TorchServeError: a model can't be loaded, TorchServe has ended, or the time is up.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self._check_alive()
            self._hide_grpc()
            if self._look():
                self._files = self._unpacked()
                self._relay.takes_changes.set()
                return
            if fault := self._models.loading_fault(self.log_dir / "model_log.log"):
                raise TorchServeError(fault)
            time.sleep(0.1)
        named = self._models.named(self._models.unready) if self._models.unready else ""
        raise TorchServeError(f"{named}no worker was ready after {timeout:g} s; see the logs in {self.log_dir}")

    def wait(self, look: Callable[[], None] = lambda: None) -> None:
        """Waits until TorchServe has ended or can't go on. It never returns.

        Args:
            look: is called about once a second. An exception of it ends the waiting.

        Raises:
            TorchServeError: it has ended, no worker of a model could be started again, or an unpacked model was
                deleted.
        """
        looked_at: frozenset[int] | None = None  # the worker processes when each model was last found ready
        while self._process.poll() is None:
            look()
            self._hide_grpc()
            if missing := next((path for path in self._files if not path.exists()), None):
                raise TorchServeError(f"a file of the unpacked model was deleted: {missing}; start the server again")
            pids = frozenset(each.pid for each in worker_processes(self._process.pid))
            if pids != looked_at:
                looked_at = pids if self._look() else None
            if fault := self._models.lasting_fault(self.log_dir / "model_log.log"):
                raise TorchServeError(fault)
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
            check_archives(self._archives, self._properties, self._folder)
            self.log_dir = self._open.enter_context(log_folder(self._wanted_log_dir, management_port))
            request_log = self._open.enter_context(request_log_output(self._request_log, self._folder))
        except (AddressError, FolderError, ArchiveUnusable, LogFolderError, RequestLogError) as error:
            raise TorchServeError(str(error)) from error
        reports = self._open.enter_context(Reports(self._folder))
        upstream = self._folder / "management.sock"
        key_file = self.key_file if self.has_tokens else None
        models = [WatchedModel(name, Management(upstream, name, key_file)) for name in self.names]
        self._models = WatchedModels(models, reports)
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
        most_workers = max(4, 2 * (os.cpu_count() or 1), *(served_model(each).workers for each in self._archives))
        try:
            return ManagementRelay(
                ("127.0.0.1", port_of(address)),
                upstream,
                most_workers,
                lambda name: self._models.count_workers(self._process.pid, name),
                has_tokens=self.has_tokens,
            )
        except OSError as error:
            raise TorchServeError(str(unusable_address("management_address", address, error))) from error

    def _prepared_command(self, java: Path, temporary: Path, upstream: Path) -> list[str]:
        """Java's command, with the files that it names."""
        store = self._folder / "store"
        for folder in (temporary, store):
            folder.mkdir()
        for name, archive in zip(self.names, self._archives, strict=True):
            (store / f"{name}.mar").symlink_to(archive)
        config = self._folder / "config.properties"
        properties = {**self._properties, "management_address": f"unix:{upstream}"}
        write_properties(config, {**properties, "model_store": str(store), "workflow_store": NO_WORKFLOWS})
        vmargs = self._properties.get("vmargs", "")
        return frontend_command(java, config, store, temporary, self._folder, self.names, vmargs)

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
        """Notes each model's workers and what they have reported. It returns whether each has a ready worker."""
        try:
            return self._models.look(self._process.pid)
        except ModelNotFound as error:
            raise TorchServeError(
                f"TorchServe couldn't unpack or read the archive of {error}; see {self.log_dir / 'ts_log.log'}"
            ) from error

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
