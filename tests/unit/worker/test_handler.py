"""The handler between TorchServe's context and the service, without a server."""

import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import ts
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from tensormask_handler import TensorMaskHandler
from tensormask_server.integrity import IntegrityError, check_archive, check_sums
from tensormask_server.prediction.finite import NotFiniteError
from tensormask_server.worker.devices import DeviceError
from ts.context import Context, RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.service import Service

from reference.cases import load_case, write_weights

ROOT = Path(__file__).parents[3]


def _png(side: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (side, side), "orange").save(content, "PNG", compress_level=1)
    return content.getvalue()


CASE = load_case("tiny")
PNG_OF_64_MEGAPIXELS = _png(8000)
GOOD = {"body": json.dumps({"img_data": CASE.image.transpose(2, 0, 1).tolist()}).encode()}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What TorchServe unpacks of an archive."""
    folder = tmp_path_factory.mktemp("archive")
    weights = write_weights(CASE, folder / "tiny.pkl")
    command = [ROOT / "archive.sh", "--config", CASE.config, "--weights", weights, "--output", folder]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    zipfile.ZipFile(folder / "tensormask.mar").extractall(folder / "model")
    return folder / "model"


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Loading sets a variable for TorchServe's worker."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def context(model_dir: Path, requests: int = 1, gpu_id: int | None = None, **options: object) -> Context:
    manifest = json.loads((model_dir / "MAR-INF" / "MANIFEST.json").read_text())
    settings = yaml.safe_load((model_dir / "model-config.yaml").read_text())
    settings["handler"] |= options
    cache = MetricsCacheYamlImpl(Path(ts.__file__).parent / "configs" / "metrics.yaml")
    cache.initialize_cache()
    made = Context("tensormask", str(model_dir), manifest, 8, gpu_id, "1.0", metrics=cache, model_yaml_config=settings)
    made.request_processor = [RequestProcessor({}) for _ in range(requests)]
    return made


def responses(model_dir: Path, data: list[Any], **options: object) -> list[tuple[int, str, bytes]]:
    """Per request the status, the content type and the body."""
    handler = TensorMaskHandler()
    ts_context = context(model_dir, len(data), **options)
    handler.initialize(ts_context)
    bodies = handler.handle(data, ts_context)
    states = [(ts_context.get_response_status(i)[0], ts_context.get_response_content_type(i)) for i in range(len(data))]
    return [(*state, body) for state, body in zip(states, bodies, strict=True)]


def test_each_request_of_a_batch_has_its_own_status_and_headers(model_dir: Path) -> None:
    results = responses(model_dir, [GOOD, {"body": b"{"}, {}, {"data": GOOD["body"]}])
    good, bad = (200, "application/gzip"), (400, "application/json")
    assert [(status, content_type) for status, content_type, _ in results] == [good, bad, bad, good]
    assert results[0][2] == results[3][2]


def test_a_worker_with_a_gpu_loads_its_network_there(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless its archive is for the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    devices: list[torch.device] = []
    monkeypatch.setattr("tensormask_handler.load_service", lambda *args: devices.append(args[4]))
    for options in ({}, {"device": "cuda"}, {"device": "cpu"}):
        TensorMaskHandler().initialize(context(model_dir, gpu_id=0, **options))
    assert devices == [torch.device("cuda:0"), torch.device("cuda:0"), torch.device("cpu")]


def test_an_archive_for_a_gpu_is_not_served_without_one(model_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DeviceError), caplog.at_level(logging.ERROR):
        TensorMaskHandler().initialize(context(model_dir, device="cuda"))
    [line] = [record.getMessage() for record in caplog.records if "LOAD FAILED" in record.getMessage()]
    assert line.endswith("TorchServe found no GPU; expected a working nvidia-smi, or --device cpu")


def test_a_browser_gets_the_page_and_its_policy(model_dir: Path) -> None:
    handler, ts_context = TensorMaskHandler(), context(model_dir)
    handler.initialize(ts_context)
    ts_context.request_processor = [RequestProcessor({"Accept": "text/html"})]
    [body] = handler.handle([{}], ts_context)
    assert body == handler.service.page.html
    headers = ts_context.get_response_headers(0)
    assert headers["Content-Security-Policy"] == handler.service.page.content_security_policy
    assert headers["content-type"] == "text/html; charset=utf-8"


def test_torchserve_passes_on_all_values_of_a_repeated_field(model_dir: Path) -> None:
    """By the worker's own way from TorchServe's message to the handler."""
    handler, ts_context = TensorMaskHandler(), context(model_dir)
    handler.initialize(ts_context)
    fields = [("classes", b"0"), ("classes", b"1"), ("data", GOOD["body"]), ("format", b"coco"), ("format", b"png")]
    parts = [{"name": name, "value": bytearray(value), "contentType": ""} for name, value in fields]
    headers = [{"name": b"Accept", "value": b"*/*"}, {"name": b"X-Request-Id", "value": b"mine"}]
    message = [
        {"requestId": b"theirs", "headers": headers, "parameters": parts[:4]},
        {"requestId": b"theirs", "headers": headers[:1], "parameters": parts[2:]},
    ]
    ts_context.request_processor, data, ts_context.request_ids = Service.retrieve_data_for_inference(message)
    assert data[0]["classes"] == [b"0", b"1"]
    assert data[0]["format"] == b"coco"
    bodies = handler.handle(data, ts_context)
    assert {each["category_name"] for each in json.loads(bodies[0])["instances"]} <= {"person", "bicycle"}
    assert json.loads(bodies[1])["error"] == '"format" stands 2 times in the request'
    assert [ts_context.get_response_headers(index)["X-Request-ID"] for index in (0, 1)] == ["mine", "theirs"]


def test_the_default_limit_of_a_response_is_below_torchserves_which_kills_the_worker(model_dir: Path) -> None:
    properties = (ROOT / "config.properties").read_text()
    [limit] = [line.partition("=")[2] for line in properties.splitlines() if line.startswith("max_response_size")]
    assert context(model_dir).model_yaml_config["handler"]["max_response_bytes"] < int(limit)


@pytest.mark.parametrize(
    ("options", "said"), [({"treshold": 1}, "handler.treshold is not a known"), ({"precision": "int8"}, "int8")]
)
def test_what_can_not_be_loaded_is_logged_in_one_line(
    model_dir: Path, options: dict[str, object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match=said), caplog.at_level(logging.ERROR):
        TensorMaskHandler().initialize(context(model_dir, **options))
    [line] = [record.getMessage() for record in caplog.records if "LOAD FAILED" in record.getMessage()]
    assert said in line


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("weights.safetensors", lambda content: content[:-1] + bytes([content[-1] ^ 1]), "isn't what was archived"),
        ("tensormask_server/network/masks.py", lambda content: content + b"#\n", "isn't what was archived"),
        ("classes.txt", None, "is missing or damaged"),
        ("SHA256SUMS", None, "of another version"),
    ],
)
def test_what_is_not_what_was_archived_is_not_loaded(
    model_dir: Path,
    tmp_path: Path,
    name: str,
    change: Callable[[bytes], bytes] | None,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = Path(shutil.copytree(model_dir, tmp_path / "other"))
    if change is None:
        (other / name).unlink()
    else:
        (other / name).write_bytes(change((other / name).read_bytes()))
    with pytest.raises(IntegrityError, match=said):
        TensorMaskHandler().initialize(context(other))
    [line] = [record.getMessage() for record in caplog.records if "LOAD FAILED" in record.getMessage()]
    assert name in line
    assert "archive.sh makes it again" in line


def test_a_file_that_was_not_archived_is_not_loaded(model_dir: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(model_dir, tmp_path / "other"))
    (other / "__pycache__").mkdir(exist_ok=True)
    (other / "__pycache__" / "tensormask_handler.cpython-311.pyc").touch()  # Python's own
    TensorMaskHandler().initialize(context(other))
    (other / "simdjson.py").write_text("raise SystemExit")
    with pytest.raises(IntegrityError, match=r"simdjson\.py, which isn't in SHA256SUMS"):
        TensorMaskHandler().initialize(context(other))
    with zipfile.ZipFile(tmp_path / "other.mar", "w") as archive:
        for path in other.rglob("*"):
            archive.write(path, path.relative_to(other).as_posix())
    said = r"handler\.cpython-311\.pyc, which isn't"  # which Python would run
    with zipfile.ZipFile(tmp_path / "other.mar") as archive, pytest.raises(IntegrityError, match=said):
        check_archive(archive)


@pytest.mark.parametrize(
    "name",
    [
        "tensormask_server/__pycache__/engine.cpython-311.pyc",
        "tensormask_server/__pycache__/tensormask_handler.cpython-311.pyc",
        "__pycache__/torch.cpython-311.pyc",
        "MAR-INF/more.py",
        "a pipe",
        "a link",
    ],
)
def test_bytecode_and_whatever_else_is_beside_the_files_is_not_loaded(
    name: str, model_dir: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(model_dir, tmp_path / "other"))
    (other / name).parent.mkdir(exist_ok=True)
    if name == "a pipe":
        os.mkfifo(other / name)
    elif name == "a link":
        (other / name).symlink_to("/")
    else:
        (other / name).touch()
    with pytest.raises(IntegrityError, match=f"{name}, which isn't in SHA256SUMS"):
        TensorMaskHandler().initialize(context(other))


BYTECODE = """
import os, sys
sys.path[:0] = [os.getcwd()]
import tensormask_handler
assert tensormask_handler.load_service.__code__.co_filename.startswith(os.getcwd())
"""


def test_the_handler_leaves_no_bytecode_but_its_own(model_dir: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(model_dir, tmp_path / "other"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([sys.executable, "-c", BYTECODE], cwd=other, env=environment, check=True)
    compiled = [path.relative_to(other).as_posix() for path in other.rglob("*.pyc")]
    assert len(compiled) == 1
    assert compiled[0].startswith("__pycache__/tensormask_handler.")
    check_sums(other)


def test_a_network_of_infinite_numbers_is_not_served_and_its_layer_is_named(
    model_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each weight is a number of float32; the layer's output is none."""
    other = Path(shutil.copytree(model_dir, tmp_path / "other"))
    weights = load_file(other / "weights.safetensors")
    layer = "backbone.bottom_up.res3.0.conv2"
    weights[f"{layer}.weight"].fill_(3e38)
    save_file(weights, other / "weights.safetensors")
    sums = [
        line for line in (other / "SHA256SUMS").read_text().splitlines() if not line.endswith("  weights.safetensors")
    ]
    digest = hashlib.sha256((other / "weights.safetensors").read_bytes()).hexdigest()
    (other / "SHA256SUMS").write_text("\n".join([*sums, f"{digest}  weights.safetensors"]) + "\n")
    with pytest.raises(NotFiniteError):
        TensorMaskHandler().initialize(context(other))
    [line] = [record.getMessage() for record in caplog.records if "LOAD FAILED" in record.getMessage()]
    assert f"the layer {layer} gives numbers that are infinite or not a number" in line


def test_torchserve_does_not_decode_json(model_dir: Path) -> None:
    TensorMaskHandler().initialize(context(model_dir))
    assert os.environ["TS_DECODE_INPUT_REQUEST"] == "false"


SCARCE_MEMORY = """
import json, resource, sys
from pathlib import Path
import numpy as np, torch
from tests.unit.worker.test_handler import GOOD, PNG_OF_64_MEGAPIXELS, TensorMaskHandler, context
torch.set_num_threads(1)
limits = dict.fromkeys(("max_pixels", "max_request_pixels", "max_mask_pixels"), 1 << 40)
handler, ts_context = TensorMaskHandler(), context(Path(sys.argv[1]), 3, score_threshold=0.01, **limits)
handler.initialize(ts_context)
handler.handle([GOOD], ts_context)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]) * 2**20,) * 2)
bodies = handler.handle([GOOD, {"body": PNG_OF_64_MEGAPIXELS, "format": b"png"}, GOOD], ts_context)
print(json.dumps([ts_context.get_response_status(i)[0] for i in range(3)]))
print(json.loads(bodies[1])["error"])
"""


@pytest.mark.slow
# less than decoding takes, and less than drawing does
@pytest.mark.parametrize(("megabytes", "said"), [(200, "could not be read"), (1000, "could not be made")])
def test_a_image_that_memory_is_too_small_for_fails_alone(model_dir: Path, megabytes: int, said: str) -> None:
    command = [sys.executable, "-c", SCARCE_MEMORY, model_dir, megabytes]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'handler'}"}
    printed = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)
    assert printed.stdout.splitlines() == ["[200, 507, 200]", "the server has not enough memory for this image"], (
        printed.stderr
    )
    assert said in printed.stderr
