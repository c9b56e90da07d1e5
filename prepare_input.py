#!/usr/bin/env python3
"""A picture file to the JSON that the server takes: prepare_input.py PICTURE.jpg picture.json"""

import argparse
import json
import sys
from pathlib import Path

try:
    from tensormask_server.pictures import PictureError, read_picture
    from tensormask_server.printable import one_line
except ImportError as error:
    sys.exit(f"prepare_input.py: {error}; expected .venv/bin/python prepare_input.py …, after make demo")


def main() -> int:
    """Exit status 0, or 2 and one line on stderr."""
    parser = argparse.ArgumentParser(description="Writes a picture's pixels as the JSON that the server takes.")
    parser.add_argument("picture", type=Path, help="any file that Pillow opens: JPEG, PNG, WebP, TIFF, …")
    parser.add_argument("output", type=Path, help="the .json to write")
    parser.add_argument("--threshold", type=float, help="find things with scores above it (default: the server's)")
    parsed = parser.parse_args()
    if parsed.threshold is not None and not 0 <= parsed.threshold <= 1:
        parser.error(f"--threshold is {parsed.threshold:g}; expected a number from 0 to 1")
    try:
        picture = read_picture(parsed.picture)
        request = {"img_data": picture.transpose(2, 0, 1).tolist()}  # (3, H, W), RGB
        if parsed.threshold is not None:
            request["threshold"] = parsed.threshold
        parsed.output.write_text(json.dumps(request, separators=(",", ":")))
    except (PictureError, OSError) as error:
        print(f"prepare_input.py: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
