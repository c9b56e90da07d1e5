"""How much memory the workers of an archive take, estimated before they start."""

import zipfile
from pathlib import Path
from typing import Any

import yaml

from tensormask_server.regular_files import MOST_ARCHIVE, open_regular
from tensormask_server.torchserve.served_archive import ServedModel, archived_yaml

MIB = 1 << 20
PROCESS = 500 * MIB  # Python, torch and what they import, and the network's first run on a small image
COPIES = 2.2  # of the weights: they are loaded once, and Winograd's algorithm has some of them in another form
IMAGE = 550 * MIB  # at the peak of one image of IMAGE_PIXELS, docs/PERFORMANCE.md#memory
IMAGE_PIXELS = 800 * 1333  # of the network's input
WEIGHTS = "weights.safetensors"


def worker_memory(archive: Path, model: ServedModel) -> int:
    """Estimates the memory of all workers of an archive together, each with a request in hand.

    Args:
        archive: the .mar.
        model: its settings. A CPU processes the images of a batch one after the other.

    Returns:
        Bytes of the host's memory; 0 if the archive can't be read, which `check_archives` reports.
    """
    try:
        with open_regular(archive, MOST_ARCHIVE) as file, zipfile.ZipFile(file) as content:
            weights = content.getinfo(WEIGHTS).file_size
            config = archived_yaml(content, "config.yaml")
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, RuntimeError, NotImplementedError, yaml.YAMLError):
        return 0
    image = IMAGE * _input_pixels(config) / IMAGE_PIXELS
    return model.workers * int(PROCESS + COPIES * weights + image)


def _input_pixels(config: Any) -> int:
    """The most pixels that a network sees of an image. Without a limit it is IMAGE_PIXELS."""
    section = config.get("INPUT", {}) if isinstance(config, dict) else {}
    values = [section.get("MIN_SIZE_TEST"), section.get("MAX_SIZE_TEST")] if isinstance(section, dict) else []
    sides = [value for value in values if isinstance(value, int) and value > 0]
    return sides[0] * sides[1] if len(sides) == 2 else IMAGE_PIXELS
