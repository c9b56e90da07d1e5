"""Times a request outside the network, and compares it with the simplest way: python -m bench.around_the_network

The plain way is that of a first Flask server for this network: json.loads and numpy in, torch.save and gzip's level 9
out; or Pillow in, and each mask through pycocotools out. Both ways run alternately in one process, so that their ratio
means something on a busy machine too.
"""

import argparse
import io
import json
from collections.abc import Callable

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from tensormask_server import Detections
from tensormask_server.options import Limits
from tensormask_server.requests.parsing import parse_request
from tensormask_server.responses.encoding import encode
from tensormask_server.responses.options import ResponseOptions
from tensormask_server.responses.result import Model, Result

from bench.first_server import gzipped_masks, image_of_json
from bench.tables import Table, milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Times what is done around the network, in ours and the plain way.")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--masks", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    parsed = parser.parse_args()
    measure(parsed.height, parsed.width, parsed.masks, parsed.rounds).show()


def measure(height: int = 480, width: int = 640, masks: int = 100, rounds: int = 9) -> Table:
    image, detections = example(height, width, masks)

    def in_format(format: str) -> Result:
        return Result(image, detections, Model("bench", ("class 0",), ""), response=ResponseOptions(format))

    body, jpeg = json.dumps({"img_data": image.transpose(2, 0, 1).tolist()}).encode(), jpeg_of(image)
    routes: dict[str, dict[str, tuple[Callable[[], object], Callable[[], object]]]] = {
        "**JSON in, torch out**": {
            "JSON to an image": (lambda: image_of_json(body), lambda: parsed_request(body)),
            "masks to gzipped torch": (lambda: gzipped_masks(detections), lambda: encode(in_format("torch"))),
        },
        "**JPEG in, COCO out**": {
            "JPEG to an image": (lambda: plain_decoded(jpeg), lambda: parsed_request(jpeg)),
            "masks to COCO's results": (lambda: plain_results(detections), lambda: encode(in_format("coco"))),
        },
    }
    table = Table(
        "around_the_network",
        "Around the network, beside the plain way",
        ("stage", "plain way, ms", "ours, ms", "ratio"),
        f"{height}×{width} pixels, {masks} masks, median of {rounds} rounds in turn",
    )
    for route, stages in routes.items():
        totals = np.zeros(2)
        for name, ways in stages.items():
            times = np.array([np.median(spent) for spent in milliseconds(ways, rounds)])
            totals += times
            table.rows.append(_row(name, times))
        table.rows.append(_row(route, totals))
    return table


def _row(name: str, times: np.ndarray) -> tuple[str, float, float, str]:
    plain, ours = times.tolist()
    return name, plain, ours, f"{plain / ours:.1f}×"


def example(height: int, width: int, count: int) -> tuple[np.ndarray, Detections]:
    """An image of noise, and masks of discs and bars, as large as instances usually are."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    masks = np.empty((count, height, width), bool)
    for mask in masks:
        centre_y, centre_x, radius = random.uniform((0, 0, 10), (height, width, 150))
        mask[:] = (y - centre_y) ** 2 + ((x - centre_x) / random.uniform(0.3, 3)) ** 2 < radius**2
    scores = np.linspace(1, 0.5, count, dtype=np.float32)
    return image, Detections.of_masks(np.zeros((count, 4), np.float32), scores, np.zeros(count, np.int64), masks)


def jpeg_of(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG")
    return content.getvalue()


def parsed_request(body: bytes) -> object:
    return parse_request({"body": body}, {}, Limits(), ("class 0",))


def plain_decoded(jpeg: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def plain_results(detections: Detections) -> bytes:
    assert detections.masks is not None
    results = []
    for mask, score in zip(detections.masks, detections.scores, strict=True):
        segmentation = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
        segmentation["counts"] = segmentation["counts"].decode()
        results.append({"category_id": 1, "score": float(score), "segmentation": segmentation})
    return json.dumps(results).encode()


if __name__ == "__main__":
    main()
