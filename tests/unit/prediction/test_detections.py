"""The package's public names, and which of its modules can be imported without torch."""

import subprocess
import sys

import pytest
import tensormask_server
from tensormask_server.options import PRECISIONS
from tensormask_server.prediction import detections, predictor
from tensormask_server.prediction.precision import DTYPES

# torch takes seconds and hundreds of megabytes, which a client or a command that only draws can do without
WITHOUT_TORCH = (
    "prediction.agreement",
    "client",
    "prediction.detections",
    "formats",
    "prediction.image_masks",
    "instances",
    "options",
    "requests.parsing",
    "responses.encoding",
    "responses.protocols",
    "responses.run_lengths",
)


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_a_module_needs_no_torch(module: str) -> None:
    code = f"import sys, tensormask_server.{module}; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_the_package_has_its_public_names_and_no_others() -> None:
    assert tensormask_server.Detections is detections.Detections
    assert tensormask_server.PredictionOptions is detections.PredictionOptions
    assert tensormask_server.Predictor is predictor.Predictor
    assert tensormask_server.load_predictor is predictor.load_predictor
    with pytest.raises(AttributeError, match="has no attribute 'load_model'"):
        getattr(tensormask_server, "load_model")  # noqa: B009


def test_each_precision_is_a_dtype_of_its_name() -> None:
    assert [f"torch.{name}" for name in PRECISIONS] == [str(DTYPES[name]) for name in PRECISIONS]
