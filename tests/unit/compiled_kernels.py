"""The GPU's kernels as C++ on the CPU, thread by thread, where there is a C++ compiler."""

import ctypes
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from tensormask_server.network.kernels import THREADS, Argument
from torch import Tensor

COMPILER = shutil.which("g++") or shutil.which("clang++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler, which runs the GPU's kernels")

CUDA = r"""
#include <cmath>
#include <cstring>
#include <immintrin.h>
#include <algorithm>
using std::fmax; using std::fmin; using std::max; using std::min;
#define __global__ static
#define __device__ static
#define __align__(bytes) alignas(bytes)
struct alignas(16) float4 { float x, y, z, w; };
struct Position { unsigned x, y, z; };
static Position blockIdx, threadIdx, blockDim, gridDim;
static unsigned __float_as_uint(float x) { unsigned y; std::memcpy(&y, &x, 4); return y; }
static float __uint_as_float(unsigned x) { float y; std::memcpy(&y, &x, 4); return y; }
static float to_float(unsigned short x) { return _cvtsh_ss(x); }
static unsigned short from_float(float x) { return _cvtss_sh(x, 0); }
static void atomicMin(long long* at, long long x) { if (x < *at) *at = x; }
static void atomicMax(long long* at, long long x) { if (x > *at) *at = x; }
"""
# of other overloads of to_float and from_float, those of the source are used
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')


class HostKernels:
    """`Kernels` that run on the CPU."""

    def __init__(self, source: str, macro: str = ""):
        text = CUDA if macro == "STORED_FLOAT16" else re.sub(r"static .*(?:to|from)_float.*\n", "", CUDA)
        self._library = ctypes.CDLL(str(_library(text + source.replace('extern "C"', ""), _launchers(source), macro)))

    def launch(self, name: str, blocks: tuple[int, int], arguments: Sequence[Argument]) -> None:
        for each in arguments:
            assert not isinstance(each, Tensor) or each.is_contiguous() or _is_channels_last(each)
        values = [
            ctypes.c_void_p(each.data_ptr())
            if isinstance(each, Tensor)
            else ctypes.c_longlong(each)
            if isinstance(each, int)
            else ctypes.c_float(each)
            for each in arguments
        ]
        getattr(self._library, f"launch_{name}")(*(ctypes.c_uint(each) for each in (*blocks, THREADS)), *values)


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


def _launchers(source: str) -> str:
    """Per kernel a function that runs all its threads, one after the other."""
    text = ""
    for name, parameters in KERNEL.findall(source):
        names = ", ".join(parameter.split()[-1].strip("*") for parameter in parameters.split(","))
        text += f"""
extern "C" void launch_{name}(unsigned across, unsigned down, unsigned threads, {parameters}) {{
    gridDim = {{across, down, 1}}; blockDim = {{threads, 1, 1}};
    for (unsigned y = 0; y < down; ++y) for (unsigned x = 0; x < across; ++x) for (unsigned t = 0; t < threads; ++t) {{
        blockIdx = {{x, y, 0}}; threadIdx = {{t, 0, 0}};
        {name}({names});
    }}
}}
"""
    return text


@cache
def _library(source: str, launchers: str, macro: str) -> Path:
    folder = Path(mkdtemp(prefix="kernels-"))
    file = folder / "kernels.cpp"
    file.write_text(source + launchers, encoding="utf-8")
    assert COMPILER is not None
    options = ["-O2", "-ffp-contract=off", "-mf16c", "-shared", "-fPIC", *([f"-D{macro}"] if macro else [])]
    library = folder / "kernels.so"
    subprocess.run([COMPILER, *options, str(file), "-o", str(library)], check=True)
    return library
