"""What a worker doesn't import."""

import json
import subprocess
import sys

import pytest
from tensormask_server.worker.left_out import left_out

# what ts.torch_handler.base_handler imports where it is installed, and what that brings
UNUSED = ("openvino", "onnxruntime", "torch_tensorrt", "torch._dynamo", "torch._inductor", "sympy")


def test_a_worker_imports_no_engine_and_no_compiler_that_it_has_no_use_for() -> None:
    command = f"import json, sys, tensormask_handler; print(json.dumps([n for n in {UNUSED} if n in sys.modules]))"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == []
    assert "OpenVINO" not in result.stderr  # TorchServe says that it isn't enabled, which is about another use of it


def test_what_is_left_out_can_be_imported_afterwards() -> None:
    with left_out("json", "wave"), pytest.raises(ModuleNotFoundError, match="wave"):
        import wave
    import wave

    assert wave.__name__ == "wave"
    assert sys.modules["json"] is json
