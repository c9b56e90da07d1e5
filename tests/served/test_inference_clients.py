"""The inference clients of KServe and of Triton, as their users call them, each in an environment of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensormask_server import Predictor

from reference.cases import Case
from tests.pages import blocks
from tests.served.conftest import ROOT, THRESHOLD, Server
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive

TRITON = """
import json, sys
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

address, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = triton.InferenceServerClient(address, network_timeout=300, connection_timeout=300)
content = open(path, "rb").read()
pixels = np.load(path + ".npy")

def tensor(array, datatype, **options):
    made = triton.InferInput("image", list(array.shape), datatype)
    made.set_data_from_numpy(array, **options)
    return made

def found(result):
    return [len(json.loads(text)["instances"]) for text in result.as_numpy("predictions").ravel()]

one, two = np.array([content], object), np.array([content, content], object)
binary = triton.InferRequestedOutput("predictions")
text = triton.InferRequestedOutput("predictions", binary_data=False)
for outputs in (None, [binary], [text]):
    result = client.infer("tiny", [tensor(one, "BYTES")], outputs=outputs, request_id="7")
    assert found(result) == [count], found(result)
    assert result.get_response()["id"] == "7"
    assert isinstance(result.as_numpy("predictions")[0], str if outputs == [text] else bytes)
assert found(client.infer("tiny", [tensor(two, "BYTES")])) == [count, count]
assert found(client.infer("tiny", [tensor(one.reshape(1, 1), "BYTES")])) == [count]
for options in ({}, {"binary_data": False}):
    assert found(client.infer("tiny", [tensor(pixels, "UINT8", **options)])) == [count]
    assert found(client.infer("tiny", [tensor(np.stack([pixels] * 2), "UINT8", **options)])) == [count, count]
most = client.infer(
    "tiny", [tensor(one, "BYTES")], priority=2, timeout=10**8, sequence_id=3, parameters={"max_detections": 1}
)
assert found(most) == [1]
handle = client.async_infer("tiny", [tensor(one, "BYTES")])
assert found(handle.get_result()) == [count]
for wrong, said in (
    ({"inputs": [tensor(one, "BYTES")], "parameters": {"score_treshold": 1.0}}, "did you mean score_threshold"),
    ({"inputs": [tensor(np.array([b"?"], object), "BYTES")]}, "the image"),
    ({"inputs": [tensor(one, "BYTES")], "request_compression_algorithm": "gzip"}, "compressed by gzip"),
):
    try:
        client.infer("tiny", **wrong)
    except InferenceServerException as error:
        assert error.status() == "400" and said in error.message(), error
    else:
        raise AssertionError(said)
"""

KSERVE = """
import asyncio, base64, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

url, path, count = f"http://{sys.argv[1]}", sys.argv[2], int(sys.argv[3])
content = open(path, "rb").read()
text = base64.b64encode(content).decode()
pixels = np.load(path + ".npy")

def tensor(array, datatype, **options):
    made = InferInput("image", list(array.shape), datatype)
    made.set_data_from_numpy(array, **options)
    return made

def found(response):
    [output] = response.outputs
    return [len(json.loads(text)["instances"]) for text in output.as_numpy().ravel()]

async def second_protocol():
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=300, retries=1))
    async def ask(*inputs, **options):
        return await client.infer(url, InferRequest("tiny", list(inputs), **options), model_name="tiny")
    for shape in ([1], [-1]):
        response = await ask(InferInput("image", shape, "BYTES", data=[text]), request_id="9")
        assert found(response) == [count] and response.id == "9"
    for options in (
        {},
        {"parameters": {"binary_data_output": True}},
        {"request_outputs": [RequestedOutput("predictions", {"binary_data": True})]},
    ):
        assert found(await ask(tensor(np.array([content] * 2, object), "BYTES"), **options)) == [count, count]
        for binary in (True, False):
            assert found(await ask(tensor(pixels, "UINT8", binary_data=binary), **options)) == [count]
    most = {"parameters": {"max_detections": 1, "priority": 1}}
    assert found(await ask(InferInput("image", [1], "BYTES", data=[text]), **most)) == [1]

async def first_protocol():
    client = InferenceRESTClient(RESTConfig(protocol="v1", timeout=300, retries=1))
    for instance in ({"data": text}, {"image": text}, {"image": {"b64": text}}):
        response = await client.infer(url, {"instances": [instance]}, model_name="tiny")
        assert [len(each["instances"]) for each in response["predictions"]] == [count]

asyncio.run(second_protocol())
asyncio.run(first_protocol())
"""


@pytest.mark.parametrize(("package", "program"), [("tritonclient[http]", TRITON), ("kserve", KSERVE)])
def test_the_client_gets_its_results(
    package: str, program: str, server: Server, case: Case, predictor: Predictor, tmp_path: Path
) -> None:
    python = environment_with(package, tmp_path / "environment")
    image = tmp_path / "image.jpg"
    Image.fromarray(case.image).save(image, "PNG")  # without losses, so that the numbers of instances are the same
    np.save(f"{image}.npy", case.image)
    [detections] = predictor([case.image], THRESHOLD)
    address = f"127.0.0.1:{server.ports[0]}"
    snippet = f"{snippet_of(package).replace('127.0.0.1:8080', address)}\nassert len(instances) == {len(detections)}"
    for text in (program, snippet):
        command = [python, "-c", text, address, image.name, len(detections)]
        words = [str(word) for word in command]
        result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=2 * PATIENCE)
        assert result.returncode == 0, result.stdout + result.stderr


def snippet_of(package: str) -> str:
    """The snippet for a package in docs/CLIENTS.md, for the tests' model and threshold."""
    name = package.partition("[")[0]
    [snippet] = [each.text for each in blocks(ROOT / "docs/CLIENTS.md") if f" {name}" in each.text]
    return snippet.replace('"tensormask"', '"tiny"').replace("0.3}", f"{THRESHOLD}}}")


def environment_with(package: str, folder: Path) -> Path:
    """The Python of a new environment with a package, whose dependencies would disturb the tests' own."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--retries", "1", package]
    result = subprocess.run(install, capture_output=True, text=True, timeout=2 * PATIENCE)
    if result.returncode != 0:
        pytest.skip(f"{package} can't be installed here: {result.stderr.strip().splitlines()[-1]}")
    return python
