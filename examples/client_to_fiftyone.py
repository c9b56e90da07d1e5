"""Puts the instances on a folder of images into a data set of FiftyOne.

python examples/client_to_fiftyone.py http://127.0.0.1:8080/demo/predict images my-images
fiftyone app launch my-images
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import fiftyone as fo
import numpy as np
from tensormask_server.client import Client, RequestError
from tensormask_server.image_files import is_image_name

FIELD = "instances"


def samples(client: Client, images: Path, threshold: float) -> Iterator[fo.Sample]:
    """A sample for each image of a folder, with a detection and a mask for each instance.

    Args:
        client: of the server.
        images: the folder. An image that gets no response is named on stderr.
        threshold: of scores.
    """
    for image in sorted(path for path in images.iterdir() if is_image_name(path.name)):
        try:
            instances = client.predict(image, score_threshold=threshold)
        except RequestError as error:
            print(f"{image}: {error}", file=sys.stderr)
            continue
        size = np.array([instances.width, instances.height])
        detections = []
        for i, name in enumerate(instances.names):
            mask = None if instances.masks is None else instances.masks[i]
            x0, y0, x1, y1 = _whole_pixels(instances.boxes[i], mask)
            corner, extent = np.array([x0, y0]) / size, np.array([x1 - x0, y1 - y0]) / size
            detections.append(
                fo.Detection(
                    label=name,
                    bounding_box=[*corner.tolist(), *extent.tolist()],
                    mask=None if mask is None else mask[y0:y1, x0:x1],
                    confidence=float(instances.scores[i]),
                )
            )
        sample = fo.Sample(filepath=str(image.absolute()))
        sample.metadata = fo.ImageMetadata(width=instances.width, height=instances.height, num_channels=3)
        sample[FIELD] = fo.Detections(detections=detections)
        yield sample


def _whole_pixels(box: np.ndarray, mask: np.ndarray | None) -> tuple[int, int, int, int]:
    """The box around a box and its mask, which can reach beyond it. FiftyOne stretches a mask over its box."""
    corners = [np.floor(box[:2]), np.ceil(box[2:])]
    if mask is not None and mask.any():
        rows, columns = np.nonzero(mask)
        corners += [np.array([columns.min(), rows.min()]), np.array([columns.max() + 1, rows.max() + 1])]
    (x0, y0), (x1, y1) = np.min(corners, axis=0), np.max(corners, axis=0)
    return int(x0), int(y0), int(x1), int(y1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Puts the instances on a folder of images into a FiftyOne data set.")
    parser.add_argument("url", help="of the model on the server")
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("name", help="of the data set to make")
    parser.add_argument("--threshold", type=float, default=0.5, help="of scores (default: %(default)s)")
    parsed = parser.parse_args()

    dataset = fo.Dataset(parsed.name, persistent=True)  # in FiftyOne's database
    dataset.add_samples(list(samples(Client(parsed.url), parsed.images, parsed.threshold)))
    print(f"{len(dataset)} images and {dataset.count(f'{FIELD}.detections')} instances in {parsed.name}")


if __name__ == "__main__":
    main()
