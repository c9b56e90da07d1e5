"""make demo: a picture through archive.sh, torchserve and curl, and its masks drawn on it."""

import shlex
import socket
import subprocess
import sys
from pathlib import Path

from PIL import Image
from tensormask_server.classes import COCO_CLASSES
from tensormask_server.drawing import draw_detections
from tensormask_server.pictures import read_picture
from tensormask_server.torchserve import TorchServe, read_properties, with_addresses

from bench.client import read_answer
from demo.synthetic import write_synthetic_weights

ROOT = Path(__file__).parents[1]
CONFIG = Path("demo/synthetic.yaml")
PICTURE = Path("demo/astronaut.jpg")
OUTPUT = Path("demo/output")


def main() -> None:
    """Each step as a user would do it, from the project's folder."""
    OUTPUT.mkdir(exist_ok=True)
    weights, request, answer = OUTPUT / "synthetic.pkl", OUTPUT / "picture.json", OUTPUT / "masks.gz"
    print("1. A network: no trained weights here, so these are random, and what they find is noise")
    write_synthetic_weights(CONFIG, weights)
    print("2. A model archive of it")
    _run("./archive.sh", "--config", CONFIG, "--weights", weights, "--name", "demo", "--threshold", "0.3")
    print("3. torchserve with this archive")
    properties = with_addresses(read_properties(ROOT / "config.properties"), "127.0.0.1", *_free_ports(3))
    with TorchServe(Path("model_store/demo.mar"), properties, Path("logs")) as server:
        server.wait_until_ready()
        print("4. The picture as JSON, posted with curl")
        _run(sys.executable, "prepare_input.py", PICTURE, request)
        url = f"{server.url}/predictions/demo"
        upload = ("-H", "Content-Type: application/json", "--data-binary", f"@{request}")
        _run("curl", "--fail-with-body", "-sS", *upload, "-o", answer, url)
    print("5. The masks, drawn on the picture")
    found = read_answer(answer.read_bytes())
    picture = read_picture(PICTURE)
    result = OUTPUT / "result.png"
    Image.fromarray(draw_detections(picture, found, COCO_CLASSES)).save(result)
    print(f"\n{len(found)} masks of {picture.shape[1]}×{picture.shape[0]} pixels:")
    print(f"  {answer}  (torch, gzipped)\n  {result}  (to look at)")


def _run(*command: object) -> None:
    words = [str(word) for word in command]
    print(f"   $ {shlex.join(words)}", flush=True)
    subprocess.run(words, check=True, cwd=ROOT)


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens on at the moment; a server that runs already is left alone."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    main()
