"""How the GPU's kernels read and write the numbers of convolutions, of each precision."""

import torch

VECTOR = 8  # numbers that a thread reads at a time
_MACROS = {torch.float32: "STORED_FLOAT32", torch.float16: "STORED_FLOAT16", torch.bfloat16: "STORED_BFLOAT16"}

# `stored` is one of them, and Eight are 8. float16 is converted by the GPU's own instructions.
SOURCE = r"""
#if defined(STORED_FLOAT32)
typedef float stored;
__device__ float to_float(stored x) { return x; }
__device__ stored from_float(float x) { return x; }
#elif defined(STORED_BFLOAT16)
typedef unsigned short stored;
__device__ float to_float(stored x) { return __uint_as_float((unsigned)x << 16); }
__device__ stored from_float(float x) {
    unsigned bits = __float_as_uint(x);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;  // to the nearest, ties to even
}
#elif defined(STORED_FLOAT16)
typedef unsigned short stored;
#ifdef __CUDACC_RTC__
__device__ float to_float(stored x) { float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x)); return y; }
__device__ stored from_float(float x) { stored y; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x)); return y; }
#endif
#endif

struct __align__(16) Eight { stored values[8]; };
"""


def stored_macro(dtype: torch.dtype) -> str:
    """The macro that makes SOURCE store numbers of a dtype."""
    return _MACROS[dtype]


def stored_option(dtype: torch.dtype) -> str:
    """NVRTC's option that defines `stored_macro`."""
    return f"--define-macro={stored_macro(dtype)}"
