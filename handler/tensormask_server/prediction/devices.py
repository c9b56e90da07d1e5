"""The device of a network, checked before the network is built."""

import torch


def checked_device(device: str | torch.device) -> torch.device:
    """Checks that torch has a device.

    Args:
        device: by torch's name, such as "cpu", "cuda" or "cuda:0", or torch's own.

    Raises:
        ValueError: torch knows no such device, or this machine doesn't have it.
    """
    try:
        checked = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device is {str(device)!r}; expected 'cpu', 'cuda' or 'cuda:0'") from error
    if checked.type == "cuda":
        count = torch.cuda.device_count()
        if torch.version.cuda is None and torch.version.hip is None:
            raise ValueError(f"device is {str(device)!r}, and this torch is built without CUDA; expected 'cpu'")
        if count == 0:
            raise ValueError(f"device is {str(device)!r}, and torch finds no GPU; expected 'cpu', or a GPU's driver")
        if (checked.index or 0) >= count:
            there = ", ".join(f"'cuda:{index}'" for index in range(count))
            raise ValueError(f"device is {str(device)!r}; torch finds {there}: expected one of these, or 'cpu'")
    return checked
