"""A reader of the documentation, who does what a page says: types commands, runs snippets, writes files."""

import json
import os
import re
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tensormask_server.torchserve.java import java_home

from tests.pages import blocks
from tests.served.conftest import Server, free_ports, is_listening
from tests.waiting import PATIENCE, wait_for

# what a reader's own would be: shorter names, classes and trainings, and smaller images, than those of the pages
REPLACED = {
    "configs/tensormask_R_50_FPN_6x.yaml": "config.yaml",
    "model_final_e8df31.pkl": "weights.pkl",
    "--model tensormask_R_50_FPN_6x": "--model demo",
    "classes=cat,dog": "classes=0,1",
    "IMS_PER_BATCH: 8": "IMS_PER_BATCH: 1",
    "MAX_ITER: 3000": "MAX_ITER: 1\nINPUT:\n  MIN_SIZE_TRAIN: [128]",
}
TORCHSERVE = ".venv/bin/torchserve"
GATEWAY = ".venv/bin/tensormask-gateway"
PORTS = (8080, 8081, 8082, 8000)  # of the pages


class Reader:
    """A person in a copy of the project. Weights, ports and what takes hours are replaced, and nothing else."""

    def __init__(self, folder: Path):
        """
        Args:
            folder: the copy. Its config.properties get free ports.
        """
        self.folder = folder
        self.ports = free_ports(6)  # inference, management, metrics, two of gRPC, gateway
        self.serving: subprocess.Popen[bytes] | None = None
        self.gateway: subprocess.Popen[bytes] | None = None
        self.has_torchserve = False  # started by its own command
        self.state = tempfile.TemporaryDirectory(prefix="tm-")  # the server's sockets can't have long names
        private = f"{self.state.name}/tensormask-server/{self.ports[1]}"
        self.keys = Path(private) / "key_file.json"
        self.replaced = {**REPLACED, "~/.local/state/tensormask-server/8081": private}
        self.environment = {
            **os.environ,
            "JAVA_HOME": str(java_home()),
            "TMPDIR": self.state.name,  # nor can Python's own, between the processes of a training
            "TEMP": self.state.name,
            "RAY_TMPDIR": "/tmp",  # nor can Ray's
            "XDG_STATE_HOME": self.state.name,
        }
        self.printed: dict[str, str] = {}  # by the command, as the page has it
        self.values: dict[str, Any] = {}  # of the Python snippets
        properties = folder / "config.properties"
        grpc = f"grpc_inference_port={self.ports[3]}\ngrpc_management_port={self.ports[4]}\n"
        properties.write_text(self.with_ports(properties.read_text()) + grpc)

    def follow(self, page: Path) -> None:
        """Does everything that a page says, in its order, but for JavaScript and blocks that are marked as not run."""
        for block in blocks(page):
            if block.reason is not None:
                continue
            if block.language == "sh":
                for command in block.text.splitlines():
                    self.printed[command] = self.type(command)
            elif block.language == "python":
                self._have_server_for(block.text)
                exec(compile(self._own(block.text), page.name, "exec"), self.values)
            elif block.language == "yaml":  # a file, with its name in the first line
                name = block.text.partition("\n")[0].removeprefix("# ")
                (self.folder / name).write_text(self._own(block.text))

    def type(self, command: str) -> str:
        """Runs a line of shell; a server goes on running until the next one is started.

        Returns:
            What it printed.
        """
        command = self._own(command)
        is_server = command.startswith((".venv/bin/tensormask-server", "make serve"))
        if is_server and "--list-models" not in command:
            return self._serve(command)
        if command.startswith(GATEWAY):
            return self._start_gateway(command)
        if command.startswith(TORCHSERVE):
            return self._torchserve(command)
        self._have_server_for(command)
        if command.startswith("curl"):
            command = command.replace("curl", "curl -sS --fail-with-body", 1)
        elif command.startswith("make"):
            command += " -o .venv/.serve"  # what is installed stays: it isn't this copy's
        elif command.endswith("tensormask_server.health"):
            command += f" --management-port {self.ports[1]}"
        result = subprocess.run(
            command, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        return result.stdout

    def stop(self) -> None:
        """Ends the server and the gateway, if they run."""
        if self.gateway is not None:
            self.gateway.terminate()
            self.gateway.wait(timeout=PATIENCE)
            self.gateway = None
        if self.serving is not None:
            self.serving.terminate()
            self.serving.wait(timeout=PATIENCE)
            self.serving = None
            wait_for(self._has_free_ports, "the server's ports to be free")  # make may end before the server

    def close(self) -> None:
        """Ends whatever runs."""
        self.stop()
        if self.has_torchserve:
            self._torchserve(f"{TORCHSERVE} --stop")
        self.state.cleanup()

    def with_ports(self, text: str) -> str:
        for port, free in zip(PORTS, (*self.ports[:3], self.ports[5]), strict=True):
            text = text.replace(f":{port}", f":{free}").replace(f"--gateway {port}", f"--gateway {free}")
        return text

    def _start_gateway(self, command: str) -> str:
        """A gateway beside the server, which ends with it. If the server has one already, it starts again without."""
        self._serve("make serve")
        words = f"exec {command} -p {self.ports[5]} --management-port {self.ports[1]}"
        self.gateway = subprocess.Popen(words, shell=True, cwd=self.folder, env=self.environment)
        wait_for(lambda: is_listening(self.ports[5]), "the gateway", unless=self.gateway.poll)
        return ""

    def _torchserve(self, command: str) -> str:
        """TorchServe's own command. With --start it leaves a process, which keeps what it prints to open."""
        self.stop()
        printed = self.folder / "printed"
        with printed.open("w") as file:
            subprocess.run(
                command,
                shell=True,
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=file,
                check=True,
                timeout=PATIENCE,
            )
        self.has_torchserve = "--start" in command
        if self.has_torchserve:
            server = Server((self.ports[0], self.ports[1], self.ports[2]), "tensormask")
            wait_for(server.is_ready, f"a READY worker of {command}")
        return printed.read_text()

    def _have_server_for(self, text: str) -> None:
        if self.serving is None and re.search(r"127\.0\.0\.1:|tensormask_server\.health", text):
            self._serve("make serve")

    def _own(self, text: str) -> str:
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        return self.with_ports(text)

    def _serve(self, command: str) -> str:
        self.stop()
        ports = f"-p {self.ports[0]} --management-port {self.ports[1]} --metrics-port {self.ports[2]}"
        options = f"-o .venv/.serve OPTIONS='{ports}'" if command.startswith("make") else ports
        printed = self.folder / "printed"
        with printed.open("w") as file:
            self.serving = subprocess.Popen(
                f"exec {command} {options}", shell=True, cwd=self.folder, env=self.environment, stdout=file, stderr=file
            )
        wait_for(
            lambda: re.search("^READY", printed.read_text(), re.MULTILINE), f"READY of {command}", unless=self._ended
        )
        if "--gateway" in command:
            wait_for(lambda: is_listening(self.ports[5]), "the gateway", unless=self._ended)
        if self.keys.exists():  # each command has a shell of its own, to which no variable of an earlier one comes
            keys = json.loads(self.keys.read_text())
            self.environment |= {"KEY": keys["inference"]["key"], "API_KEY": keys["API"]["key"], "KEYS": str(self.keys)}
        return printed.read_text()

    def _has_free_ports(self) -> bool:
        try:
            for port in self.ports:
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            return False
        return True

    def _ended(self) -> str | None:
        """What the server printed, if it has ended."""
        assert self.serving is not None
        return None if self.serving.poll() is None else (self.folder / "printed").read_text()
