"""Bulk runs: how many images a second, and what they cost beside the network: python -m bench.bulk

By the command itself.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from PIL import Image
from safetensors.numpy import save_file
from tensormask_server.archive.arguments import ArchiveRequest
from tensormask_server.archive.making import make_archive
from tensormask_server.model_files.detectron2_yaml import load_merged_yaml
from tensormask_server.network.config import parse_config
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.options import HandlerOptions

from bench.networks import DEMO, ROOT, image_of
from bench.openvino import IMAGES
from bench.results import RESULTS, publish
from bench.tables import Table
from reference.synthetic_weights import synthetic_state

MEGABYTE = 1e6


@dataclass(frozen=True)
class Run:
    """What a run took."""

    seconds: float  # from the command's start to its end
    rate: float  # images a second between the first and the last part
    outside: int  # percent of the actors' time that isn't the network's
    memory: float  # MB that the command itself had resident at most


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures bulk runs.")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10_000], help="of small images")
    parser.add_argument("--images", type=int, default=200, help="for the demo's network (default: %(default)s)")
    parser.add_argument("--results", type=Path, metavar="FOLDER", default=RESULTS, help="(default: %(default)s)")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tensormask-bench-") as folder:
        publish(by_actors(Path(folder), parsed.images), parsed.results)
        publish(by_images(Path(folder), parsed.counts), parsed.results)


def by_actors(folder: Path, count: int) -> Iterator[Table]:
    """The table after each row."""
    table = Table(
        "bulk",
        "Images a second",
        ("network", "actors of one core", "images a second", "outside the network, %"),
        f"the demo's network on {count} JPEGs of 512×512 pixels; between the first part and the last, so without the "
        "start of Ray",
    )
    images = copies(folder / "large", 512, count)
    for name, model in models(folder).items():
        for actors in (1, 2):
            run = measured(images, images.with_name(f"{name}-{actors}"), model, actors)
            table.rows.append((name, actors, run.rate, run.outside))
            yield table


def models(folder: Path) -> dict[str, list[object]]:
    """The demo's network in each precision, as options of the command."""
    files = ["--config", DEMO / "config.yaml", "--weights", DEMO / "weights.pkl"]
    options = HandlerOptions(engine="openvino", device="cpu", precision="int8")
    request = ArchiveRequest(
        DEMO / "config.yaml",
        DEMO / "weights.pkl",
        DEMO / "classes.txt",
        output=folder,
        options=options,
        calibrate=IMAGES[0].parent,
    )
    return {
        "float32": files,
        "bfloat16": [*files, "--precision", "bfloat16"],
        "int8 by OpenVINO": ["--archive", make_archive(request)],
    }


def by_images(folder: Path, counts: Sequence[int]) -> Iterator[Table]:
    """The table after each row."""
    table = Table(
        "bulk_growth",
        "Cost by number of images",
        ("images", "all, s", "images a second", "outside the network, %", "the command's memory, MB"),
        "a network that is next to nothing, on JPEGs of 64×64 pixels, by two actors of one core; the first column of "
        "times has the start of Ray in it, the second hasn't; the memory is the most that was resident",
    )
    config, weights = folder / "config.yaml", folder / "tiny.safetensors"
    tiny = ROOT / "reference" / "networks" / "tiny" / "config.yaml"
    config.write_text(yaml.safe_dump({"_BASE_": str(tiny), "INPUT": {"MIN_SIZE_TEST": 32}}))
    entries = TensorMask(parse_config(load_merged_yaml(config))).state_dict()
    save_file(synthetic_state({name: tuple(entry.shape) for name, entry in entries.items()}), weights)
    for count in counts:
        images = copies(folder / str(count), 64, count)
        run = measured(images, folder / f"{count}-found", ["--config", config, "--weights", weights], 2)
        table.rows.append((count, run.seconds, run.rate, run.outside, run.memory))
        yield table


def copies(folder: Path, side: int, count: int) -> Path:
    """As many files of one image."""
    folder.mkdir()
    Image.fromarray(image_of(side, side)).save(folder / "0.jpg", quality=90)
    for i in range(1, count):
        shutil.copy(folder / "0.jpg", folder / f"{i}.jpg")
    return folder


def measured(images: Path, output: Path, model: Sequence[object], actors: int) -> Run:
    command = [sys.executable, "-m", "tensormask_server.bulk", "--input", images, "--output", output]
    command += [*model, "--actors", actors]
    words = [str(word) for word in command]
    started, memory = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=stderr)
        account = psutil.Process(process.pid)
        while process.poll() is None:
            memory = max(memory, account.memory_info().rss)
            time.sleep(0.05)
        stderr.seek(0)
        text = stderr.read()
    seconds = time.perf_counter() - started
    outside = re.search(r"(\d+)% outside the network", text)
    if outside is None:
        raise SystemExit(f"the run failed:\n{text}")
    times = sorted(path.stat().st_mtime for path in output.glob("part-*"))
    count = sum(1 for _ in images.iterdir())
    return Run(seconds, count * (1 - 1 / len(times)) / (times[-1] - times[0]), int(outside[1]), memory / MEGABYTE)


if __name__ == "__main__":
    main()
