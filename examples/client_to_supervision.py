"""Sends an image to a running server and draws the instances with supervision.

python examples/client_to_supervision.py http://127.0.0.1:8080/demo/predict IMAGE.jpg DRAWN.png
"""

import argparse
from pathlib import Path

import numpy as np
import supervision as sv
from PIL import Image
from tensormask_server.client import Client


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the instances that a server finds on an image.")
    parser.add_argument("url", help="http://HOST:8080/MODEL/predict")
    parser.add_argument("image", type=Path)
    parser.add_argument("output", type=Path, help="the .png to write")
    parser.add_argument("--threshold", type=float, default=0.5, help="of scores (default: %(default)s)")
    parsed = parser.parse_args()

    instances = Client(parsed.url).predict(parsed.image, score_threshold=parsed.threshold)
    detections = sv.Detections(
        xyxy=instances.boxes,  # float32 (N, 4): x0 y0 x1 y1 in the image's pixels
        mask=instances.masks,  # bool (N, H, W)
        confidence=instances.scores,
        class_id=instances.category_ids,
        data={"class_name": [*instances.names]},
    )
    image = np.array(Image.open(parsed.image).convert("RGB"))
    drawn = sv.MaskAnnotator().annotate(image.copy(), detections)
    drawn = sv.LabelAnnotator().annotate(drawn, detections)
    Image.fromarray(drawn).save(parsed.output)
    print(f"{len(detections)} instances drawn to {parsed.output}")


if __name__ == "__main__":
    main()
