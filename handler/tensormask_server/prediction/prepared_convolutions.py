"""Bounds the memory that oneDNN keeps for sizes of images that a process has seen."""

import os

VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
MOST = 300  # convolutions, each for one size of its input: those of three or four sizes of images


def limit_prepared_convolutions() -> None:
    """Keeps fewer prepared convolutions than oneDNN's 1024, which take half a gigabyte with the demo's network.

    It has an effect before the process's first convolution only. The variable in the environment has priority.

    Source: oneDNN's developer guide, "Primitive Cache".
    """
    os.environ.setdefault(VARIABLE, str(MOST))
