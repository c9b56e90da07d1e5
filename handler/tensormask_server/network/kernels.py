"""Kernels in CUDA's C++ that are compiled when they are first needed.

NVIDIA's NVRTC library compiles them, which comes with torch's builds for CUDA. So neither a compiler nor CUDA's toolkit
has to be installed. Where the kernels can't be had, the same is computed by operations of torch.
"""

import ctypes
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

THREADS = 256  # of a block

Argument = Tensor | int | float


class Kernels(Protocol):
    """Some kernels that are compiled together."""

    def launch(self, name: str, blocks: tuple[int, int], arguments: Sequence[Argument]) -> None:
        """Starts a kernel on the device's current stream, with THREADS threads in each block.

        Args:
            name: of the kernel.
            blocks: how many along x and y. Without any, nothing happens.
            arguments: the kernel's: pointers for contiguous tensors on the device, long long for whole numbers, and
                float for others.
        """
        ...


class CudaKernels:
    """Kernels of a GPU: `Kernels`."""

    def __init__(self, source: str, device: torch.device, options: Sequence[str]):
        """Compiles the source.

        Args:
            source: CUDA's C++. Kernels are `extern "C"`.
            options: of NVRTC, beside the device's architecture.

        Raises:
            ImportError: there is no NVRTC for Python.
            RuntimeError: the source can't be compiled or loaded. The message is of several lines.
        """
        from cuda.bindings import driver

        self._driver = driver
        self._device = device
        self._functions: dict[str, Any] = {}
        major, minor = torch.cuda.get_device_capability(device)
        binary = compiled(source, [f"--gpu-architecture=sm_{major}{minor}", *options])
        with torch.cuda.device(device):
            torch.cuda.current_stream(device).synchronize()  # torch has made the device's context by now
            self._module = self._checked(driver.cuModuleLoadData(binary))

    def launch(self, name: str, blocks: tuple[int, int], arguments: Sequence[Argument]) -> None:
        if 0 in blocks:
            return
        if name not in self._functions:
            self._functions[name] = self._checked(self._driver.cuModuleGetFunction(self._module, name.encode()))
        values, types = zip(*(_c_argument(each) for each in arguments), strict=True)
        stream = torch.cuda.current_stream(self._device).cuda_stream
        where = *blocks, 1, THREADS, 1, 1, 0, stream
        with nullcontext() if self._is_current() else torch.cuda.device(self._device):
            self._checked(self._driver.cuLaunchKernel(self._functions[name], *where, (values, types), 0))

    def _is_current(self) -> bool:
        return self._device.index in (None, torch.cuda.current_device())

    def _checked(self, result: tuple[Any, ...]) -> Any:
        status, *values = result
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise RuntimeError(f"CUDA's driver says {status.name}")
        return values[0] if values else None


def compiled(source: str, options: Sequence[str]) -> bytes:
    """Compiles CUDA's C++ with NVRTC, for which no GPU is needed.

    Raises:
        ImportError: there is no NVRTC for Python.
        RuntimeError: the source can't be compiled.
    """
    from cuda.bindings import nvrtc

    status, program = nvrtc.nvrtcCreateProgram(source.encode(), b"kernels.cu", 0, [], [])
    encoded = [each.encode() for each in options]
    if status == nvrtc.nvrtcResult.NVRTC_SUCCESS:
        [status] = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        _, size = nvrtc.nvrtcGetProgramLogSize(program)
        log = b" " * size
        nvrtc.nvrtcGetProgramLog(program, log)
        raise RuntimeError(f"NVRTC says {status.name}: {log.decode(errors='replace').strip()}")
    _, size = nvrtc.nvrtcGetCUBINSize(program)
    binary: bytes = b" " * size
    nvrtc.nvrtcGetCUBIN(program, binary)
    nvrtc.nvrtcDestroyProgram(program)
    return binary


@cache
def kernels_for(source: str, device: torch.device, options: tuple[str, ...] = ()) -> Kernels | None:
    """Kernels for a device; None where there is no NVIDIA GPU, or where they can't be compiled."""
    if device.type != "cuda" or torch.version.cuda is None:
        return None
    try:
        return CudaKernels(source, device, options)
    except (ImportError, RuntimeError) as error:
        logger.warning("the GPU's kernels can't be compiled, and operations of torch take their place: %s", error)
        return None


def blocks_for(count: int) -> int:
    """How many blocks have so many threads together."""
    return -(-count // THREADS)


def _c_argument(argument: Argument) -> tuple[int | float, type[Any]]:
    if isinstance(argument, Tensor):
        return argument.data_ptr(), ctypes.c_void_p
    return argument, ctypes.c_longlong if isinstance(argument, int) else ctypes.c_float
