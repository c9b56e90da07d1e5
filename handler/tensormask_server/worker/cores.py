"""Shares the machine's cores among the workers."""

import os

import torch


def share_cores(workers: int) -> None:
    """Limits torch to this worker's part of the cores. Workers that all use every core would wait for each other.

    OMP_NUM_THREADS in the environment has priority.

    Args:
        workers: the number of workers on this machine.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // max(1, workers)))
