"""Measures the instances on a folder of images by a server, and writes one table of them.

python examples/measure_instances.py http://127.0.0.1:8080/NAME/predict images measures.csv --pixel-size 0.25um
"""

import argparse
import io
import sys
from pathlib import Path

import pandas as pd
from tensormask_server.client import Client, RequestError


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the instances on a folder of images by a server.")
    parser.add_argument("url", help="of the model on the server")
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("table", type=Path, help="the CSV file to write")
    parser.add_argument("--pixel-size", help="side of a pixel, such as 0.25um; without it all is in pixels")
    parser.add_argument("--stretch", help="how values of more than 8 bits become 8, such as percentile")
    parser.add_argument("--threshold", type=float, help="measures scores above it (default: the server's)")
    parsed = parser.parse_args()

    client = Client(parsed.url)
    options = {"pixel_size": parsed.pixel_size, "stretch": parsed.stretch, "score_threshold": parsed.threshold}
    images = sorted(path for path in parsed.images.iterdir() if path.is_file())
    tables = []
    for image in images:
        try:
            response = client.request(image, "csv", file_name=image.name, **options)
        except RequestError as error:  # a file that is no image, for instance; the others are measured
            print(f"{image}: {error}", file=sys.stderr)
        else:
            tables.append(pd.read_csv(io.BytesIO(response.body)))
    if not tables:
        sys.exit(f"no image in {parsed.images} could be measured")
    table = pd.concat(tables, ignore_index=True)
    table.to_csv(parsed.table, index=False)

    area = next(name for name in reversed(table.columns) if name.startswith("area"))  # in the unit, if there is one
    diameter = area.replace("area", "equivalent_diameter").removesuffix("2")
    summary = table.groupby("class").agg(
        instances=("instance", "size"),
        images=("file_name", "nunique"),
        **{f"mean {area}": (area, "mean"), f"mean {diameter}": (diameter, "mean")},
    )
    print(summary.sort_values("instances", ascending=False).to_string())
    if len(tables) < len(images):
        sys.exit(f"{len(images) - len(tables)} of {len(images)} files aren't in {parsed.table}")


if __name__ == "__main__":
    main()
