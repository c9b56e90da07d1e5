"""Follows the instances of a video with pandas: where each was, for how long, how far and how fast it went.

python -m tensormask_server.client video.mp4 --out video.masks.mp4 --track
python examples/video_tracks.py video.masks.csv
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd


def main() -> None:
    parser = argparse.ArgumentParser(description="Summarises the table that the client writes beside a video.")
    parser.add_argument("table", type=Path, help=".csv or .parquet")
    parsed = parser.parse_args()

    read = pd.read_parquet if parsed.table.suffix == ".parquet" else pd.read_csv
    rows = read(parsed.table).dropna(subset=["track"]).sort_values(["track", "time"])
    if rows.empty:
        print(f"no instance in {parsed.table} has an id, which --track gives to what is seen on two frames")
        return
    rows["x"] = rows["box_x"] + rows["box_width"] / 2
    rows["y"] = rows["box_y"] + rows["box_height"] / 2
    steps = rows.groupby("track")[["x", "y"]].diff()
    rows["path"] = np.hypot(steps["x"], steps["y"])  # pixels since the frame before
    tracks = rows.groupby("track").agg(
        **{
            "class": ("class", "first"),
            "frames": ("frame", "size"),
            "from s": ("time", "min"),
            "to s": ("time", "max"),
            "mean score": ("score", "mean"),
            "mean area": ("area", "mean"),
            "path px": ("path", "sum"),
        }
    )
    tracks["px a second"] = tracks["path px"] / (tracks["to s"] - tracks["from s"])
    tracks.index = tracks.index.astype(int)
    digits = {"mean score": 2, "mean area": 0, "path px": 0, "px a second": 0, "from s": 2, "to s": 2}
    print(tracks.round(digits).to_string())


if __name__ == "__main__":
    main()
