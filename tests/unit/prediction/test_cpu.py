"""A warning is given for a precision that the CPU emulates, on real processors as Linux lists them."""

import warnings
from pathlib import Path

import pytest
import torch
from tensormask_server.prediction import cpu
from tensormask_server.prediction.cpu import SlowPrecisionWarning, faster_precision, warn_if_emulated

HASWELL = "flags\t\t: fpu sse sse2 fma avx avx2 f16c bmi2"
SAPPHIRE_RAPIDS = f"{HASWELL} avx512f avx512_bf16 avx512_fp16 amx_bf16 amx_tile"
ZEN_4 = f"{HASWELL} avx512f avx512_bf16 avx512_vnni"
GRAVITON_2 = "Features\t: fp asimd evtstrm aes fphp asimdhp cpuid asimdrdm"
GRAVITON_3 = f"{GRAVITON_2} sve i8mm bf16"
POWER = "cpu\t\t: POWER9, altivec supported"


@pytest.mark.parametrize(
    ("cpuinfo", "emulated"),
    [
        pytest.param(HASWELL, {torch.bfloat16, torch.float16}, id="Haswell"),
        pytest.param(ZEN_4, {torch.float16}, id="Zen 4"),
        pytest.param(SAPPHIRE_RAPIDS, set(), id="Sapphire Rapids"),
        pytest.param(GRAVITON_2, {torch.bfloat16}, id="Graviton 2"),
        pytest.param(GRAVITON_3, set(), id="Graviton 3"),
        pytest.param(POWER, set(), id="one that lists nothing"),
        pytest.param(None, set(), id="not Linux"),
    ],
)
def test_a_precision_that_the_cpu_emulates_gives_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpuinfo: str | None, emulated: set[torch.dtype]
) -> None:
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(f"processor\t: 0\nmodel name\t: it\n{cpuinfo}\nbugs\t\t: bf16 avx512_fp16\n\n" * 2)
    monkeypatch.setattr(cpu, "CPUINFO", file)
    warned = set()
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        with warnings.catch_warnings(record=True) as caught:
            warn_if_emulated(dtype)
        warned |= {dtype for each in caught if each.category is SlowPrecisionWarning}
    assert warned == emulated


@pytest.mark.parametrize(
    ("cpuinfo", "said"),
    [
        pytest.param(HASWELL, "", id="Haswell"),
        pytest.param(ZEN_4, "about 2 times as fast as float32 on this CPU (avx512_bf16)", id="Zen 4"),
        pytest.param(
            SAPPHIRE_RAPIDS, "about 2.3 times as fast as float32 on this CPU (amx_bf16)", id="Sapphire Rapids"
        ),
        pytest.param(GRAVITON_3, "", id="Graviton 3, where nobody measured it"),
        pytest.param(None, "", id="not Linux"),
    ],
)
def test_a_faster_precision_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpuinfo: str | None, said: str
) -> None:
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(f"processor\t: 0\n{cpuinfo}\n")
    monkeypatch.setattr(cpu, "CPUINFO", file)
    sentence = faster_precision(torch.float32)
    assert said in sentence
    assert bool(sentence) == bool(said)
    assert not faster_precision(torch.bfloat16)
