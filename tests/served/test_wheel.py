"""A wheel, installed into an environment of its own, does what the project's folder does: makes archives and serves."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensormask_server import Detections, load_predictor
from tensormask_server.extras import missing_extra
from tensormask_server.images.encoded import read_image
from tensormask_server.models.table import model_named

from bench.agreement import agreement, together
from reference.cases import Case
from tests.published_weights import mirror_of
from tests.served.conftest import DEMO, DEMO_NETWORK, ROOT, THRESHOLD, Response, Server, launched, request_body, send
from tests.served.wheel_packages import link_requirements
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "model_store", "logs", "build", "output", "*.egg-info", ".*_cache")


def run(*command: object, cwd: Path) -> str:
    """What the command prints; a failure shows all of it."""
    words = [str(word) for word in command]
    result = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, f"{words}\n{result.stdout}{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the project's folder, as pip does it."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "project", ignore=LEFT_OUT)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, folder / "project", cwd=folder)
    [built] = folder.glob("*.whl")
    return built


def environment_of(wheel: Path, environment: Path) -> tuple[Path, Path]:
    """Installs the wheel and nothing else into a new environment.

    Returns:
        The folders of its commands and of its packages.
    """
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=environment)
    commands = environment / "bin"
    run(sys.executable, "-m", "pip", "--python", commands / "python", "install", "--no-deps", wheel, cwd=environment)
    [packages] = environment.glob("lib/python*/site-packages")
    return commands, packages


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment's commands. It sees what is installed here, but not the project's own folder."""
    commands, packages = environment_of(wheel, tmp_path_factory.mktemp("environment"))
    # a path in a .pth is searched, but the .pth files there, as that of an editable install, aren't read
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return commands


def test_the_wheel_has_all_that_is_needed_and_nothing_else(wheel: Path) -> None:
    names = [Path(name) for name in zipfile.ZipFile(wheel).namelist()]
    assert {name.parts[0] for name in names if ".dist-info" not in name.parts[0]} == {
        "tensormask_handler.py",
        "tensormask_server",
    }
    package = ROOT / "handler" / "tensormask_server"
    sources = {path.relative_to(ROOT / "handler") for path in package.rglob("*") if "__pycache__" not in path.parts}
    files = {path for path in sources if (ROOT / "handler" / path).is_file()}
    assert {name for name in names if name.parts[0] == "tensormask_server"} == {
        *files,
        Path("tensormask_server/config.properties"),
        *(
            Path("tensormask_server") / path.relative_to(ROOT)
            for folder in ("configs", "demo/model")
            for path in (ROOT / folder).rglob("*.*")
        ),
    }
    assert Path("tensormask_server/py.typed") in names


def test_without_an_extra_it_needs_numpy_and_is_the_client(
    wheel: Path, server: Server, case: Case, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """In an environment with the packages that the wheel's metadata ask for, and no others."""
    [metadata] = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA")]
    lines = zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
    requirements = [line for line in lines if line.startswith("Requires-Dist: ") and "extra ==" not in line]
    assert requirements == ["Requires-Dist: numpy>=2"]
    commands, packages = environment_of(wheel, tmp_path_factory.mktemp("client"))
    for entry in Path(str(importlib.metadata.distribution("numpy").locate_file(""))).glob("numpy*"):
        (packages / entry.name).symlink_to(entry)
    Image.fromarray(case.image).save(tmp_path / "image.png")
    arguments = ["tensormask_server.client", "image.png", "--url", server.url, "--out", "responses"]
    run(commands / "python", "-m", *arguments, cwd=tmp_path)
    response = json.loads((tmp_path / "responses" / "image.png.json").read_text())
    assert response["instances"]
    script = "import sys; from tensormask_server.client import Client; import numpy\n"
    script += f"n = len(Client({server.url!r}).predict('image.png').scores); print(n, 'torch' in sys.modules)"
    assert run(commands / "python", "-c", script, cwd=tmp_path) == f"{len(response['instances'])} False\n"
    told = subprocess.run([commands / "tensormask-server"], cwd=tmp_path, capture_output=True, text=True)
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert "pip install 'tensormask-segmentation-server[serve]' brings them" in told.stderr


def test_it_prints_the_settings_for_torchserves_own_command(installed: Path, tmp_path: Path) -> None:
    printed = run(installed / "python", "-m", "tensormask_server.config_properties", cwd=tmp_path)
    assert printed == (ROOT / "config.properties").read_text()


def test_its_commands_make_an_archive_and_serve_it(installed: Path, case: Case, weights: Path, tmp_path: Path) -> None:
    python = installed / "python"
    where = run(python, "-c", "import tensormask_server; print(tensormask_server.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    options = ["--config", case.config, "--weights", weights, "--output", tmp_path, "--name", "tiny"]
    run(python, "-m", "tensormask_server.archive", *options, cwd=tmp_path)
    assert "usage: tensormask-server" in run(installed / "tensormask-server", "--help", cwd=tmp_path)
    command = installed / "tensormask-server"
    with launched(tmp_path, "--archive", tmp_path / "tiny.mar", command=command, PATH="") as server:
        assert len(server.post(request_body(case.image, threshold=0.1)).tensors()["scores"]) > 3
    given = ["-cp", case.config, "-tp", weights]
    with launched(tmp_path, *given, command=command, PATH="") as server:
        assert server.post(request_body(case.image, threshold=0.1)).status == 200


def test_from_an_empty_folder_it_serves_the_demos_model_by_its_name(installed: Path, tmp_path: Path) -> None:
    """The client's command finds instances. Nothing is downloaded."""
    command = installed / "tensormask-server"
    with launched(tmp_path, "--model", "demo", "--offline", command=command, PATH="") as server:
        assert server.name == "demo"
        image = ROOT / "demo" / "images" / "composed.jpg"
        arguments = ["tensormask_server.client", image, "--url", server.url, "--out", "responses"]
        run(installed / "python", "-m", *arguments, cwd=tmp_path)
    [response] = [json.loads(path.read_text()) for path in (tmp_path / "responses").glob("composed*")]
    assert response["instances"]


def test_three_commands_lead_from_a_photograph_to_an_image_with_masks(installed: Path, tmp_path: Path) -> None:
    """The first one, pip install, is the fixture's. The weights come from a mirror."""
    photograph = ROOT / "demo" / "images" / "composed.jpg"
    model = model_named("tensormask_R_50_FPN_6x")
    with (
        mirror_of(model, tmp_path) as (_, variables),
        launched(
            tmp_path, "--model", model.name, command=installed / "tensormask-server", PATH="", **variables
        ) as server,
    ):
        url = f"http://127.0.0.1:{server.ports[0]}/{model.name}/predict?format=png&score_threshold=0.01"
        run("curl", "-sS", "--fail-with-body", "-T", photograph, "-o", "masks.png", url, cwd=tmp_path)
    with Image.open(tmp_path / "masks.png") as drawn, Image.open(photograph) as given:
        assert drawn.size == given.size
        assert (np.asarray(drawn.convert("RGB")) != np.asarray(given.convert("RGB"))).any()


def test_its_archive_is_the_one_of_the_projects_folder(
    installed: Path, archive: Path, case: Case, weights: Path, tmp_path: Path
) -> None:
    options = ["--config", case.config, "--weights", weights, "--output", tmp_path, "--name", "tiny"]
    run(installed / "python", "-m", "tensormask_server.archive", *options, cwd=tmp_path)
    files = [set(zipfile.ZipFile(each).namelist()) for each in (archive, tmp_path / "tiny.mar")]
    assert files[0] == files[1]


@pytest.mark.skipif(bool(missing_extra("export")), reason="the extra export isn't installed here")
def test_with_the_extra_openvino_it_serves_8_bits_of_the_demos_network(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Where nothing is installed but what serving needs: the archive is made elsewhere."""
    images = sorted(DEMO.glob("samples/*.jpg"))
    options = ["--engine", "openvino", "--precision", "int8", "--calibrate", DEMO / "samples"]
    run(ROOT / "archive.sh", *DEMO_NETWORK, *options, "--output", tmp_path, "--name", "fast", cwd=tmp_path)
    commands, packages = environment_of(wheel, tmp_path_factory.mktemp("fast"))
    names = link_requirements(wheel, ("serve", "openvino"), packages)
    assert {"openvino", "torchserve"} < names
    assert names.isdisjoint({"nncf", "onnx", "onnxscript"})
    exact = load_predictor(DEMO / "config.yaml", DEMO / "weights.pkl")
    agreements = []
    command = commands / "tensormask-server"
    headers = {"Content-Type": "image/jpeg", "Format": "torch", "Score-Threshold": str(THRESHOLD)}
    with launched(tmp_path, "--archive", tmp_path / "fast.mar", command=command, PATH="") as server:
        for image in images:
            response = send(urllib.request.Request(server.url, image.read_bytes(), headers))
            found = Detections.of_masks(*arrays_of(response))
            [expected] = exact([read_image(image)], THRESHOLD)
            agreements.append(agreement(found, expected))
    alike = together(agreements)
    assert alike.expected > 20
    assert alike.paired >= 0.97 * alike.expected
    assert alike.mask_iou > 0.95


def arrays_of(response: Response) -> Iterator[np.ndarray]:
    """The arguments of `Detections.of_masks` in a response in the format torch."""
    tensors = response.tensors()
    return (tensors[name].numpy() for name in ("pred_boxes", "scores", "pred_classes", "pred_masks"))
