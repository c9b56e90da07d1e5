"""The OpenAPI document against running servers: schemathesis, and clients that generators made from it."""

import base64
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from tensormask_server.openapi.bodies import SAMPLE

from reference.cases import Case
from tests.environments import node_modules_with, python_with
from tests.served.conftest import ROOT, Server, launched
from tests.served.gateways import gateway_of
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive

DOCUMENT = ROOT / "docs/openapi.yaml"
TYPESCRIPT = Path(__file__).with_name("generated_client")
CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# coverage sends some thousand requests more, which takes many minutes
PHASES = os.environ.get("SCHEMATHESIS_PHASES", "examples,fuzzing")
# schemathesis posts bodies that are image files, damaged ones, and random bytes
HOOKS = f"""
import base64

import schemathesis
from hypothesis import strategies

IMAGE = base64.b64decode("{SAMPLE}")
schemathesis.openapi.media_type(
    "application/octet-stream",
    strategies.one_of(
        strategies.just(IMAGE),
        strategies.binary(max_size=300),
        strategies.binary(max_size=50).map(lambda tail: IMAGE[:40] + tail),
    ),
)
"""
# the client that openapi-python-client made is the package `generated`
READ = """
import base64, io, json, sys
from generated import Client
from generated.api.default import infer, predict, predict_v1, segment
from generated.models import (
    Error, Format, ImageForm, ImageRequest, InferenceRequest, InferenceRequestInputsItem,
    InferenceRequestInputsItemDatatype, InstancesRequest, TorchServeError,
)
from generated.types import File

url, model = sys.argv[1:]
client = Client(base_url=url, timeout=300)
content = open("image.jpg", "rb").read()
text = base64.b64encode(content).decode()
found = segment.sync(model, client=client, body=File(io.BytesIO(content)), score_threshold=0.2)
by_header = predict.sync(model, client=client, body=ImageRequest(image=text), score_threshold=0.2)
form = ImageForm(data=File(io.BytesIO(content), "image.jpg", "image/jpeg"), score_threshold=0.2)
assert found == by_header == segment.sync(model, client=client, body=form)
# the client parses a response as JSON only; of the other formats the bytes are read
drawing = client.get_httpx_client().request(**segment._get_kwargs(model, body=form, format_=Format.PNG)).content
instances = InstancesRequest(instances=[ImageRequest(image=text), text])
tensor = InferenceRequestInputsItem("image", InferenceRequestInputsItemDatatype.BYTES, [1], [text])
inferred = infer.sync(model, client=client, body=InferenceRequest(inputs=[tensor]))
wrong = segment.sync(model, client=client, body=File(io.BytesIO(content)), score_threshold=2)
absent = segment.sync("absent", client=client, body=File(io.BytesIO(content)))
assert isinstance(wrong, Error) and isinstance(absent, TorchServeError)
print(json.dumps({
    "scores": [each.score for each in found.instances],
    "size": [found.height, found.width],
    "drawing": base64.b64encode(drawing).decode(),
    "several": len(predict_v1.sync(model, client=client, body=instances).predictions),
    "texts": inferred.outputs[0].data,
    "expected": wrong.expected,
    "code": absent.code,
}))
"""


def run(*command: object, cwd: Path, **environment: str) -> str:
    """What the command prints; a failure shows all of it."""
    words = [str(word) for word in command]
    variables = {**os.environ, **environment}
    result = subprocess.run(words, cwd=cwd, env=variables, capture_output=True, text=True, timeout=10 * PATIENCE)
    assert result.returncode == 0, f"{words}\n{result.stdout[-5000:]}{result.stderr[-5000:]}"
    return result.stdout


def test_no_answer_is_missing_in_the_document(archive: Path, tmp_path: Path) -> None:
    with launched(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server:
        url = f"http://127.0.0.1:{server.ports[0]}"
        run_schemathesis(url, server.name, tmp_path, "--include-path-regex", "{model}")


def test_no_answer_of_the_gateway_is_missing_in_the_document(archive: Path, tmp_path: Path) -> None:
    with (
        launched(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server,
        gateway_of(server, tmp_path) as gateway,
    ):
        run_schemathesis(gateway.url, server.name, tmp_path)


def run_schemathesis(url: str, model: str, tmp_path: Path, *options: str) -> None:
    """Sends at most some hundred requests for each operation. It fails if an answer isn't as the document says."""
    python = python_with(tmp_path / "schemathesis", "schemathesis>=4.32,<5")
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "schemathesis.toml").write_text(f'[parameters]\n"path.model" = "{model}"\n')
    run(
        *(python.with_name("schemathesis"), "run", DOCUMENT, "--url", url, *options),
        *("--phases", PHASES, "--checks", ",".join(CHECKS), "--max-examples", 10),
        *("--seed", 1, "--generation-database", "none", "--request-timeout", PATIENCE, "--no-color"),
        cwd=tmp_path,
        SCHEMATHESIS_HOOKS="hooks",
    )


def check(printed: str, server: Server, case: Case, image: bytes) -> None:
    """Checks what a client has read against the server's own responses."""
    read = json.loads(printed)
    expected = json.loads(server.post(image, "image/jpeg").body)
    assert read["scores"] == [each["score"] for each in expected["instances"] if each["score"] > 0.2]
    assert read["scores"]
    assert read["size"] == list(case.image.shape[:2])
    assert Image.open(io.BytesIO(base64.b64decode(read["drawing"]))).size == case.image.shape[1::-1]
    assert read["several"] == 2
    assert [json.loads(text) for text in read["texts"]] == [expected]
    assert read["expected"] == "score_threshold: a number from 0 to 1"
    assert read["code"] == 404


@pytest.fixture
def image(case: Case, tmp_path: Path) -> bytes:
    """The case's image, as image.jpg in the test's folder."""
    Image.fromarray(case.image).save(tmp_path / "image.jpg", quality=95)
    return (tmp_path / "image.jpg").read_bytes()


def test_a_generated_python_client_reads_responses(server: Server, case: Case, image: bytes, tmp_path: Path) -> None:
    python = python_with(tmp_path / "generator", "openapi-python-client>=0.26")
    generator = python.with_name("openapi-python-client")
    options = ("--output-path", tmp_path / "generated", "--meta", "none", "--fail-on-warning")
    path = f"{python.parent}:{os.environ['PATH']}"  # of ruff, which the generator runs
    run(generator, "generate", "--path", DOCUMENT, *options, cwd=tmp_path, PATH=path)
    url = f"http://127.0.0.1:{server.ports[0]}"
    check(run(python, "-c", READ, url, server.name, cwd=tmp_path), server, case, image)


def test_a_generated_typescript_client_reads_responses(
    server: Server, case: Case, image: bytes, tmp_path: Path
) -> None:
    commands = node_modules_with(tmp_path, "@hey-api/openapi-ts@0.95.0", "typescript@5.9.3", "@types/node@20")
    shutil.copytree(TYPESCRIPT, tmp_path, dirs_exist_ok=True)
    run(commands / "openapi-ts", "--input", DOCUMENT, "--output", "client", cwd=tmp_path)
    run(commands / "tsc", "--project", ".", cwd=tmp_path)
    url = f"http://127.0.0.1:{server.ports[0]}"
    check(run("node", "out/read.js", url, server.name, cwd=tmp_path), server, case, image)
