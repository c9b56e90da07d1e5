"""One torchserve: started, watched until a worker is ready, and stopped with all that it started."""

import contextlib
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import psutil
import yaml

from tensormask_server.connections import count_in_hand, refuse_new
from tensormask_server.cpu import SlowPrecisionWarning
from tensormask_server.integrity import IntegrityError, check_sums
from tensormask_server.java import java_home
from tensormask_server.options import OptionError, handler_options
from tensormask_server.properties import write_properties
from tensormask_server.recovery import Recovery

ADDRESSES = ("inference_address", "management_address", "metrics_address")
STOP_SECONDS = 20
MAX_RESPONSE_SIZE = "6553500"  # bytes, where the properties have none
LINES = 1000  # of what torchserve printed last


class TorchServeError(Exception):
    """A torchserve that doesn't start or has ended, in one line."""


class TorchServe:
    """A torchserve process with one model. Use it as a context manager: leaving it leaves nothing running."""

    def __init__(self, archive: Path, properties: Mapping[str, str], log_dir: Path):
        """
        Args:
            archive: the .mar; its name without the ending is the model's name.
            properties: of config.properties.
            log_dir: for TorchServe's logs, and where it ends by itself the last of what it printed, in console.log.
        """
        self.name = archive.stem
        self.log_dir = log_dir
        self._archive = archive.resolve()
        self._properties = dict(properties)

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
    def frontend(self) -> psutil.Process:
        """The Java process, of one that has been entered."""
        self._check_alive()
        return self._frontends()[0]

    def __enter__(self) -> "TorchServe":
        """
        Raises:
            TorchServeError: a port is taken, the archive isn't there or isn't whole, its answers may be too large, or
                the logs can't be written.
            JavaNotFound: there is no Java.
        """
        _check_archive(self._archive)
        _check_answers_fit(self._archive, self._properties)
        for key in ADDRESSES:
            _check_port(key, self._properties[key])
        _check_ports_differ(self._properties)
        java = java_home()
        try:
            self.log_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TorchServeError(f"can't use {self.log_dir} as the folder of the logs: {error.strerror}") from error
        # TorchServe keeps its pid file, sockets and unpacked models in the temporary folder: one server each
        self._temp = tempfile.TemporaryDirectory(prefix="tensormask-serve-", ignore_cleanup_errors=True)
        config = Path(self._temp.name) / "config.properties"
        write_properties(config, self._properties)
        command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
        command += ["--ts-config", str(config), "--model-store", str(self._archive.parent)]
        command += ["--models", f"{self.name}={self._archive.name}"]
        logs = str(self.log_dir.resolve())
        environment = {**os.environ, "JAVA_HOME": str(java), "TMPDIR": self._temp.name, "TEMP": self._temp.name}
        environment |= {"LOG_LOCATION": logs, "METRICS_LOCATION": logs}
        environment["LC_ALL"] = "C.UTF-8"  # in which Java opens files of any name
        environment.pop("TS_CONFIG_FILE", None)
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # a group of its own: a Ctrl-C reaches us alone, and the group can be ended
        )
        assert self._process.stdout is not None
        self._printed = _Printed(self._process.stdout)
        return self

    def __exit__(self, *_: object) -> None:
        """Asks the frontend to end, waits for it, and ends whatever is left of its group."""
        frontends = self._frontends()
        with contextlib.suppress(psutil.Error):
            for frontend in frontends:
                frontend.terminate()
            psutil.wait_procs(frontends, timeout=STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._temp.cleanup()

    def wait_until_ready(self, timeout: float = 300) -> None:
        """Returns when a worker answers: only its state tells, /ping says Healthy from the start.

        Raises:
            TorchServeError: the model can't be loaded, torchserve has ended, or the time is up.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self._check_alive()
            if self._is_ready():
                return
            self._check_log()
            time.sleep(0.1)
        raise TorchServeError(f"no worker was ready after {timeout:g} s; see the logs in {self.log_dir}")

    @property
    def slow_precision(self) -> str:
        """What a worker has warned of, in one line; "" of nothing."""
        return self._printed.slow_precision

    def wait(self) -> None:
        """Returns never: raises when torchserve has ended, or has no worker any more and gives up starting one.

        Raises:
            TorchServeError: it has.
        """
        while self._process.poll() is None:
            if self._printed.recovery.has_ended:
                reason = self._printed.load_failure or f"see {self.log_dir / 'model_log.log'}"
                raise TorchServeError(f"no worker could be started again: {reason}")
            time.sleep(0.5)
        self._check_alive()

    def finish(self, timeout: float) -> None:
        """Takes no new connections, and returns when the requests in hand are answered, or the time, in seconds, is up.

        TorchServe itself breaks them off when it is asked to end.
        """
        port = urlsplit(self.url).port or 0
        with contextlib.suppress(psutil.Error):
            for frontend in self._frontends():
                if refuse_new(frontend, port):
                    counted, wanted = "requests", "answered"
                else:
                    counted, wanted = "connections, some of them perhaps idle,", "closed"
                    print("new connections can't be refused, nor idle ones told: this system doesn't allow pidfd_getfd")
                end = time.monotonic() + timeout
                if count := count_in_hand(frontend, port):
                    print(f"stopping when {count} {counted} in hand are {wanted}, at most {timeout:g} s", flush=True)
                while count and time.monotonic() < end:
                    time.sleep(0.05)
                    count = count_in_hand(frontend, port)
                if count:
                    print(f"{count} {counted} were not {wanted} in {timeout:g} s and are broken off", flush=True)

    def _frontends(self) -> list[psutil.Process]:
        """The Java process that torchserve has started; none where it has ended."""
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self._process.pid).children()
        return []

    def _check_alive(self) -> None:
        if self._process.poll() is not None:
            lines = self._printed.last_lines()
            causes = [line.strip() for line in lines if "Exception:" in line or "Error:" in line]
            console = self.log_dir / "console.log"
            with contextlib.suppress(OSError):
                console.write_text("".join(lines), encoding="utf-8")
            raise TorchServeError(f"torchserve has ended: {(causes or ['not by us'])[-1]} (see {console})")

    def _check_log(self) -> None:
        if self._printed.load_failure:
            raise TorchServeError(f"the model can't be loaded: {self._printed.load_failure}")
        if self._printed.worker_died:
            raise TorchServeError(f"a worker died while loading the model; see {self.log_dir / 'model_log.log'}")

    def _is_ready(self) -> bool:
        return any(worker["status"] == "READY" for worker in self._workers())

    def _workers(self) -> list[dict[str, Any]]:
        """The workers as the management API describes them; none while it doesn't answer yet."""
        request = urllib.request.Request(f"{self._properties['management_address']}/models/{self.name}")
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            if self.has_tokens:
                key = json.loads(Path("key_file.json").read_text())["management"]["key"]
                request.add_header("Authorization", f"Bearer {key}")
            with urllib.request.urlopen(request, timeout=5) as response:
                workers: list[dict[str, Any]] = json.load(response)[0]["workers"]
                return workers
        return []


class _Printed:
    """What torchserve prints, read as it comes and not kept: all of it is in its logs too, which end at some size."""

    def __init__(self, stream: IO[str]):
        self.load_failure = ""  # the reason, in one line
        self.worker_died = False
        self.slow_precision = ""  # likewise, of SlowPrecisionWarning
        self.recovery = Recovery()
        self._last: deque[str] = deque(maxlen=LINES)
        self._reading = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reading.start()

    def last_lines(self) -> list[str]:
        """Of a process that has ended."""
        self._reading.join(timeout=STOP_SECONDS)
        return list(self._last)

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._last.append(line)
                self.recovery.read(line)
                reason = re.search(r"LOAD FAILED: (.*)", line)
                if reason:
                    self.load_failure = reason[1]
                elif warning := re.search(rf"{SlowPrecisionWarning.__name__}: (.*)", line):
                    self.slow_precision = warning[1]
                elif "Load model failed" in line or "Backend worker process died" in line:
                    self.worker_died = True


def _check_archive(archive: Path) -> None:
    if not archive.is_file():
        folder = archive if archive.is_dir() else archive.parent
        others = ", ".join(str(path) for path in sorted(folder.glob("*.mar")))
        hint = f"there {'are' if ', ' in others else 'is'} {others}" if others else "archive.sh makes one"
        raise TorchServeError(f"there is no archive {archive}; {hint}")
    try:
        with zipfile.ZipFile(archive) as content:
            content.getinfo("MAR-INF/MANIFEST.json")
            check_sums(zipfile.Path(content))
    except (zipfile.BadZipFile, KeyError) as error:
        raise TorchServeError(f"{archive} is not a model archive, or damaged; archive.sh makes one") from error
    except IntegrityError as error:
        raise TorchServeError(f"{archive} can't be served: {error}") from error


def _check_answers_fit(archive: Path, properties: Mapping[str, str]) -> None:
    """An answer larger than TorchServe lets pass would cost its worker."""
    with zipfile.ZipFile(archive) as content:
        try:
            settings = yaml.safe_load(content.read("model-config.yaml"))
            largest = handler_options(settings["handler"]).max_response_bytes
        except (KeyError, TypeError, yaml.YAMLError, OptionError):
            return  # the worker says what is wrong with it
    passing = properties.get("max_response_size", MAX_RESPONSE_SIZE)
    if not passing.isdecimal() or int(passing) <= largest:
        found = f"is {passing}" if "max_response_size" in properties else f"isn't there, which means {passing},"
        raise TorchServeError(
            f"max_response_size {found} in TorchServe's properties; expected more than the {largest} bytes of the "
            "archive's --max-response-bytes: change config.properties, or archive with a smaller limit"
        )


def _check_port(key: str, address: str) -> None:
    parts = urlsplit(address)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname, parts.port))
        except OSError as error:
            another = "port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "host"
            raise TorchServeError(f"can't use {address} ({key}): {error.strerror}; choose another {another}") from error


def _check_ports_differ(properties: Mapping[str, str]) -> None:
    keys: dict[int | None, str] = {}
    for key in ADDRESSES:
        port = urlsplit(properties[key]).port
        other = keys.setdefault(port, key)
        if other != key:
            raise TorchServeError(f"{other} and {key} both have the port {port}; choose another for one of them")
