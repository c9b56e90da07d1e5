"""Annotates a folder of images for LabelMe: a file of polygons beside each image, which LabelMe opens with it.

python examples/client_to_labelme.py http://127.0.0.1:8080/demo/predict images
labelme images
"""

import argparse
import sys
from pathlib import Path

from tensormask_server.client import Client, RequestError
from tensormask_server.image_files import is_image_name


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes LabelMe's annotations beside the images of a folder.")
    parser.add_argument("url", help="of the model on the server")
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("--threshold", type=float, default=0.5, help="of scores (default: %(default)s)")
    parser.add_argument("--tolerance", type=float, help="pixels that outlines may be simplified by")
    parsed = parser.parse_args()

    client = Client(parsed.url)
    failed = written = 0
    for image in sorted(path for path in parsed.images.iterdir() if is_image_name(path.name)):
        annotations = image.with_suffix(".json")
        if annotations.exists():  # somebody may have corrected it
            print(f"{annotations} is kept as it is", file=sys.stderr)
            continue
        try:
            response = client.request(
                image,
                "polygons",
                file_name=image.name,  # by which LabelMe finds the image
                image_data="none",
                score_threshold=parsed.threshold,
                tolerance=parsed.tolerance,
            )
        except RequestError as error:  # a file that is no image, for instance; the others are annotated
            failed += 1
            print(f"{image}: {error}", file=sys.stderr)
        else:
            annotations.write_bytes(response.body)
            written += 1
    print(f"{written} files of annotations in {parsed.images}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
