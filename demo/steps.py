"""The demo's steps: it makes an archive, serves it, and sends images with curl, whose masks are drawn."""

import gzip
import io
import json
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import torch
from tensormask_server.models.table import model_named
from tensormask_server.printable import one_line
from tensormask_server.torchserve.java import JavaNotFound
from tensormask_server.torchserve.process import TorchServe, TorchServeError
from tensormask_server.torchserve.properties import PropertiesError, read_properties, with_addresses

ROOT = Path(__file__).parents[1]
MODEL = Path("demo/model")
ABOUT = model_named("demo").classes
# the data set's code composed one, of drawings that aren't in the training data; a browser drew the other
IMAGES = (Path("demo/images/composed.jpg"), Path("demo/images/page.png"))
OUTPUT = Path("demo/output")
THRESHOLD = 0.45


def main() -> int:
    """Runs all steps.

    Returns:
        The exit status. 1, with a line on stderr: a step failed.
    """
    try:
        _run_all()
    except subprocess.CalledProcessError as error:
        print(f"demo: {shlex.join(error.cmd)} failed with exit status {error.returncode}", file=sys.stderr)
    except (JavaNotFound, PropertiesError, TorchServeError) as error:
        print(f"demo: {one_line(error)}", file=sys.stderr)
    else:
        return 0
    return 1


def _run_all() -> None:
    """Runs each step as a user would, in the project's folder."""
    OUTPUT.mkdir(exist_ok=True)
    print("1. A model archive of the demo's network")
    weights = (
        "--config",
        MODEL / "config.yaml",
        "--weights",
        MODEL / "weights.pkl",
        "--classes",
        MODEL / "classes.txt",
        "--samples",
        MODEL / "samples",
    )
    _run("./archive.sh", *weights, "--name", "demo", "--threshold", THRESHOLD, "--about", ABOUT)
    print("2. torchserve with this archive")
    properties = with_addresses(read_properties(ROOT / "config.properties"), "127.0.0.1", *free_ports(3))
    with TorchServe([Path("model_store/demo.mar")], properties, None) as server:
        server.wait_until_ready()
        print("3. Image files as requests; responses as images and as COCO's results")
        for image in IMAGES:
            drawn, results = OUTPUT / f"{image.stem}.png", OUTPUT / f"{image.stem}.json"
            _curl("-T", image, "-o", drawn, f"{server.url}/demo/predict?format=png")
            _curl("-T", image, "-o", results, f"{server.url}/demo/predict")
            print(f"   {_detections(results)}")
        print("4. The same image as JSON; the response is a gzip of torch's bytes")
        request, response = OUTPUT / "image.json", OUTPUT / "masks.gz"
        _run(sys.executable, "prepare_input.py", IMAGES[0], request)
        json_type = ("-H", "Content-Type: application/json")
        _curl(*json_type, "--data-binary", f"@{request}", "-o", response, f"{server.url}/demo/predict")
        with gzip.open(response) as file:
            masks = torch.load(io.BytesIO(file.read()), weights_only=True)["pred_masks"]
        print(f"   pred_masks {tuple(masks.shape)}, {masks.dtype}")
    print("\nLook at")
    for image in IMAGES:
        print(f"  {OUTPUT / image.stem}.png")
    print("and serve it, with a page for browsers at http://127.0.0.1:8080/demo/predict, by")
    print("  make serve ARCHIVE=model_store/demo.mar")


def _curl(*arguments: object) -> None:
    _run("curl", "--fail-with-body", "-sS", *arguments)


def _detections(results: Path) -> str:
    instances = json.loads(results.read_text(encoding="utf-8"))["instances"]
    return ", ".join(f"{each['category_name']} {each['score']:.2f}" for each in instances) or "nothing"


def _run(*command: object) -> None:
    words = [str(word) for word in command]
    print(f"   $ {shlex.join(words)}", flush=True)
    subprocess.run(words, check=True, cwd=ROOT)


def free_ports(count: int) -> list[int]:
    """Finds ports that no server uses at the moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
