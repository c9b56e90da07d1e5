"""The device of a worker."""

import torch


class DeviceError(ValueError):
    """The archive is for a GPU, and the worker has none. The message says what to do."""


def device_of_worker(device: str, gpu_id: int | None) -> torch.device:
    """Where a worker's network runs.

    Args:
        device: the server's option, one of `options.DEVICES`.
        gpu_id: the GPU that TorchServe assigned to the worker; None where it found none.

    Raises:
        DeviceError: the device is "cuda", and the worker can't use a GPU.
    """
    if device == "cpu":
        return torch.device("cpu")
    if gpu_id is not None and torch.cuda.is_available():
        return torch.device(f"cuda:{gpu_id}")
    if device == "auto":
        return torch.device("cpu")
    if gpu_id is None:
        raise DeviceError("device is cuda, and TorchServe found no GPU; expected a working nvidia-smi, or --device cpu")
    raise DeviceError(
        f"device is cuda, and torch {torch.__version__} can't use a GPU; expected a torch with CUDA, or --device cpu"
    )
