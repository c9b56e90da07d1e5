"""Every command and snippet of the README is run, in a copy of the project: only weights and ports are replaced."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright._impl._driver import compute_driver_executable
from tensormask_server.archive import command as archive_command
from tensormask_server.launcher import command as launcher
from tensormask_server.torchserve.java import java_home

from reference.cases import Case
from tests.certificates import HAS_OPENSSL
from tests.served.conftest import ROOT, Server, free_ports
from tests.waiting import PATIENCE, wait_for

README = (ROOT / "README.md").read_text()
HAS_RAY = find_spec("ray") is not None  # of the extra bulk
NODE = str(compute_driver_executable()[0])  # that comes with Playwright
NODE_STARTS = subprocess.run([NODE, "--version"], capture_output=True).returncode == 0
SET_UP = {"make demo", "make test"}  # this test is part of them
DOWNLOADS = "curl -O http://images.cocodataset.org/"  # 1 GB; `write_coco` lays an image where they would be


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def shell_commands() -> list[str]:
    runnable = [block for block in blocks("sh") if HAS_OPENSSL or "openssl" not in block]
    lines = [line for block in runnable for line in block.strip().splitlines() if line not in SET_UP]
    if not HAS_RAY:
        lines = [line for line in lines if "bulk" not in line]
    return [line for line in lines if not line.startswith(DOWNLOADS)]


def write_coco(folder: Path, image: Path) -> None:
    """COCO val2017 with one image, on which there is nothing to find."""
    (folder / "val2017").mkdir()
    shutil.copy(image, folder / "val2017")
    entry = {"id": 1, "file_name": image.name, "height": 150, "width": 200}
    content = {"images": [entry], "annotations": [], "categories": [{"id": number} for number in range(1, 81)]}
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(content))


def run_javascript(snippet: str) -> str:
    script = (
        f'import {{ readFileSync }} from "node:fs";\nconst image = readFileSync("image.jpg");\n{snippet}\n'
        "console.log(JSON.stringify(instances));"
    )
    command = [NODE, "--input-type=module", "--eval", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


class Reader:
    """A person in the project's folder who types what the README says."""

    def __init__(self, folder: Path, replaced: dict[str, str]):
        self.folder = folder
        self.ports = free_ports(5)
        self.serving: subprocess.Popen[bytes] | None = None
        self.environment = {**os.environ, "JAVA_HOME": str(java_home()), "TMPDIR": str(folder), "TEMP": str(folder)}
        self.environment["RAY_TMPDIR"] = "/tmp"  # Ray's sockets can't have long names
        self.state = tempfile.TemporaryDirectory(prefix="tm-")  # nor can the server's
        self.environment["XDG_STATE_HOME"] = self.state.name
        own = f"{self.state.name}/tensormask-server/{self.ports[1]}"
        self.replaced = {**replaced, "~/.local/state/tensormask-server/8081": own}
        self.keys = Path(own) / "key_file.json"
        properties = folder / "config.properties"
        grpc = f"grpc_inference_port={self.ports[3]}\ngrpc_management_port={self.ports[4]}\n"
        properties.write_text(self.with_ports(properties.read_text()) + grpc)

    def type(self, command: str) -> str:
        for old, new in self.replaced.items():
            command = command.replace(old, new)
        command = self.with_ports(command)
        if command.startswith((".venv/bin/tensormask-server", "make serve")):
            return self._serve(command)
        if command.startswith("curl"):
            if self.serving is None:
                self._serve("make serve")
            command = command.replace("curl", "curl -sS --fail-with-body", 1)
        result = subprocess.run(
            command, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        if "torchserve --start" in command:
            self._wait_for_worker()
        return result.stdout

    def stop(self) -> None:
        if self.serving is not None:
            self.serving.terminate()
            self.serving.wait(timeout=PATIENCE)
            self.serving = None

    def close(self) -> None:
        self.stop()
        self.state.cleanup()

    def _serve(self, command: str) -> str:
        self.stop()
        ports = f"-p {self.ports[0]} --management-port {self.ports[1]} --metrics-port {self.ports[2]}"
        # -o: what is installed stays, it isn't this copy's
        options = f"-o .venv/.serve OPTIONS='{ports}'" if command.startswith("make") else ports
        command = f"{command} {options}"
        environment = {**self.environment, "TMPDIR": "/tmp"}
        with (self.folder / "printed").open("w") as file:
            self.serving = subprocess.Popen(
                f"exec {command}", shell=True, cwd=self.folder, env=environment, stdout=file, stderr=file
            )
        printed = self.folder / "printed"
        wait_for(lambda: "READY" in printed.read_text(), f"READY of {command}", unless=self._ended)
        if self.keys.exists():  # each command has a shell of its own, to which no variable of an earlier one comes
            keys = json.loads(self.keys.read_text())
            self.environment |= {"KEY": keys["inference"]["key"], "API_KEY": keys["API"]["key"], "KEYS": str(self.keys)}
        return printed.read_text()

    def _ended(self) -> str | None:
        """What the server printed, where it has ended."""
        assert self.serving is not None
        return None if self.serving.poll() is None else (self.folder / "printed").read_text()

    def _wait_for_worker(self) -> None:
        server = Server((self.ports[0], self.ports[1], self.ports[2]), "tensormask")
        wait_for(server.is_ready, "a READY worker of torchserve --start")

    def with_ports(self, text: str) -> str:
        for port, free in zip((8080, 8081, 8082), self.ports[:3], strict=True):
            text = text.replace(f":{port}", f":{free}")
        return text


@pytest.fixture
def reader(tmp_path: Path, case: Case, weights: Path) -> Iterator[Reader]:
    folder = tmp_path / "project"
    left_out = shutil.ignore_patterns(".git", ".venv", "build", "model_store", "logs", "tests", "output", ".*_cache")
    shutil.copytree(ROOT, folder, ignore=left_out)
    (folder / ".venv").symlink_to(sys.prefix)
    Image.fromarray(case.image).save(folder / "image.jpg")
    (folder / "images").mkdir()
    shutil.copy(folder / "image.jpg", folder / "images")
    shutil.copy(case.config, folder / "config.yaml")
    shutil.copy(weights, folder / "weights.pkl")
    write_coco(folder, folder / "image.jpg")
    (folder / "model_store").mkdir()
    archive_demo = ["./archive.sh", "--name", "demo", "--config", "demo/model/config.yaml"]
    archive_demo += ["--weights", "demo/model/weights.pkl", "--classes", "demo/model/classes.txt"]
    subprocess.run(archive_demo, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # what make demo leaves
    replaced = {
        "configs/tensormask_R_50_FPN_6x.yaml": "config.yaml",
        "model_final_e8df31.pkl": "weights.pkl",
        "classes=cat,dog": "classes=0,1",
    }
    typed = Reader(folder, replaced)
    yield typed
    typed.close()


def test_every_command_of_the_readme_works(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = {command: reader.type(command) for command in shell_commands()}
    assert any('"status": "READY"' in text for command, text in printed.items() if command.startswith("curl"))
    [scores] = [text for command, text in printed.items() if "evaluate.py" in command]
    assert [line.split()[0] for line in scores.splitlines()] == ["AP", "box", "mask"]
    for answer in ("found.png", "drawn.png", "labels.png"):
        assert Image.open(reader.folder / answer).size == (200, 150)
    assert (reader.folder / "answers" / "image.jpg.png").exists()
    monkeypatch.chdir(reader.folder)
    values: dict[str, Any] = {"rgb": np.zeros((20, 30, 3), np.uint8)}
    for snippet in blocks("python"):
        if HAS_RAY or "pyarrow" not in snippet:
            exec(reader.with_ports(snippet), values)
    found, things = values["found"], values["things"]
    assert len(found) > 0
    assert found.masks.shape[1:] == values["answer"]["pred_masks"].shape[1:] == (150, 200)
    assert [len(things), *things.area] == [len(found), *found.masks.sum(axis=(1, 2))]
    assert things[0].data["class_name"] == [found.names[0]]
    assert values["detections"].masks.shape[1:] == (20, 30)
    if HAS_RAY:
        assert (values["row"]["height"], values["row"]["width"]) == (150, 200)


@pytest.mark.skipif(not NODE_STARTS, reason="Node.js, as Playwright brings it, doesn't start here: it wants libatomic1")
def test_the_javascript_of_the_readme_works(
    server: Server, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(case.image).save(tmp_path / "image.jpg")
    monkeypatch.chdir(tmp_path)
    (snippet,) = blocks("js")
    own = f":{server.ports[0]}/predictions/{server.name}"
    assert "score" in run_javascript(snippet.replace(":8080/predictions/tensormask", own))


@pytest.mark.parametrize("command", [archive_command, launcher])
def test_every_option_is_in_the_readme_with_its_default(command: ModuleType) -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `-")]
    for action in command._parser()._actions:
        if action.dest not in ("help", "version"):
            [row] = [line for line in rows if any(re.search(f"`{name}[` ]", line) for name in action.option_strings)]
            default = action.default.name if isinstance(action.default, Path) else action.default
            assert default in (None, False) or str(default) in row, action.option_strings
