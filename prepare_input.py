#!/usr/bin/env python3
"""Writes an image file's pixels as JSON for the server: prepare_input.py IMAGE.jpg image.json"""

import argparse
import json
import sys
from pathlib import Path

try:
    from tensormask_server.images.encoded import read_image
    from tensormask_server.images.errors import ImageError
    from tensormask_server.printable import one_line
except ImportError as error:
    sys.exit(f"prepare_input.py: {error}; expected .venv/bin/python prepare_input.py …, after make demo")


def main() -> int:
    """Exit status 0, or 2 and one line on stderr."""
    parser = argparse.ArgumentParser(description="Writes an image's pixels as JSON that the server accepts.")
    parser.add_argument("image", type=Path, help="any file that Pillow opens: JPEG, PNG, WebP, TIFF, …")
    parser.add_argument("output", type=Path, help="the .json to write")
    parser.add_argument(
        "--threshold", type=float, help="report only detections with higher scores (default: the server's)"
    )
    parsed = parser.parse_args()
    if parsed.threshold is not None and not 0 <= parsed.threshold <= 1:
        parser.error(f"--threshold is {parsed.threshold:g}; expected a number from 0 to 1")
    try:
        image = read_image(parsed.image)
        request = {"img_data": image.transpose(2, 0, 1).tolist()}  # (3, H, W), RGB
        if parsed.threshold is not None:
            request["threshold"] = parsed.threshold
        parsed.output.write_text(json.dumps(request, separators=(",", ":")))
    except (ImageError, OSError) as error:
        print(f"prepare_input.py: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
