"""Measures the instances on a folder of images by a server, and writes one table of them.

python examples/measure_instances.py http://127.0.0.1:8080/predictions/NAME images measures.csv --pixel-size 0.25um
"""

import argparse
import io
from pathlib import Path

import pandas as pd
from tensormask_server.client import Client


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the instances on a folder of images by a server.")
    parser.add_argument("url", help="of the model on the server")
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("table", type=Path, help="the CSV file to write")
    parser.add_argument("--pixel-size", help="side of a pixel, such as 0.25um; without it all is in pixels")
    parser.add_argument("--threshold", type=float, help="measures scores above it (default: the server's)")
    parsed = parser.parse_args()

    client = Client(parsed.url)
    tables = []
    for image in sorted(path for path in parsed.images.iterdir() if path.is_file()):
        response = client.request(
            image, "csv", file_name=image.name, pixel_size=parsed.pixel_size, score_threshold=parsed.threshold
        )
        tables.append(pd.read_csv(io.BytesIO(response.body)))
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


if __name__ == "__main__":
    main()
