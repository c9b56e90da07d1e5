"""Where a worker's network runs, by the server's option and by what TorchServe and torch find."""

import pytest
import torch
from tensormask_server.options import DEVICES
from tensormask_server.worker.devices import DeviceError, device_of_worker


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gpu_id", [None, 0, 1])
@pytest.mark.parametrize("has_cuda", [False, True])
def test_a_worker_runs_on_its_gpu_if_it_has_one_and_may(
    device: str, gpu_id: int | None, has_cuda: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    can = has_cuda and gpu_id is not None
    if device == "cuda" and not can:
        with pytest.raises(DeviceError, match=r"^device is cuda, and .*; expected .*--device cpu$"):
            device_of_worker(device, gpu_id)
        return
    expected = torch.device("cuda", gpu_id) if can and device != "cpu" else torch.device("cpu")
    assert device_of_worker(device, gpu_id) == expected
