"""TensorBoard's event files of a training, where the package tensorboard is installed.

They need neither tensorflow nor a running TensorBoard: `tensorboard --logdir FOLDER` reads them at any time.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class EventFiles:
    """The numbers and images of one training, by iteration. A continued training begins a new file."""

    def __init__(self, writer: "SummaryWriter"):
        self._writer = writer

    def add_numbers(self, values: Mapping[str, float], done: int) -> None:
        """Adds a point to the curve of each name.

        Args:
            values: by the name of the curve, such as "loss/class".
            done: how many iterations are done.
        """
        for name, value in values.items():
            self._writer.add_scalar(name, value, done)
        self._writer.flush()

    def add_images(self, images: Mapping[str, np.ndarray], done: int) -> None:
        """Adds images.

        Args:
            images: uint8 (H, W, 3), RGB, by name.
            done: how many iterations are done.
        """
        for name, image in images.items():
            self._writer.add_image(name, image, done, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def event_files(out: Path, done: int) -> EventFiles | None:
    """Begins an event file in a folder.

    Args:
        out: the folder of the training.
        done: iterations that are done. TensorBoard leaves out what a stopped training has written of later ones.

    Returns:
        The event files; None if the package tensorboard isn't installed.
    """
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # takes half a second

    return EventFiles(SummaryWriter(str(out), purge_step=done + 1))
