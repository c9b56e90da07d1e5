"""Tensors written piece by piece are what torch.save would have written, and take the memory of a piece."""

import io
import tracemalloc
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from tensormask_server import Detections
from tensormask_server.model_files.torch_file import read_torch_file
from tensormask_server.prediction.image_masks import ImageMasks, MaskCrop
from tensormask_server.responses.encoding import encode
from tensormask_server.responses.options import ResponseOptions
from tensormask_server.responses.result import Model, Result
from tensormask_server.responses.tensor_stream import StreamedTensor, write_tensors

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "several parts": RANDOM.random((5, 4, 3), np.float32),
    "bools": RANDOM.random((2, 7)) > 0.5,
    "numbers": np.arange(-3, 9),
    "none of a shape": np.zeros((0, 4, 6), bool),
    "none": np.zeros(0, np.float32),
    "transposed": RANDOM.random((3, 4), np.float32).T,
}


def written(tensors: Mapping[str, StreamedTensor]) -> bytes:
    content = io.BytesIO()
    write_tensors(content, tensors)
    return content.getvalue()


def streamed() -> dict[str, StreamedTensor]:
    tensors = {name: StreamedTensor.of_array(array) for name, array in ARRAYS.items()}
    array = ARRAYS["several parts"]
    return {**tensors, "several parts": StreamedTensor(array.dtype, array.shape, iter(array))}


@pytest.mark.parametrize("name", ARRAYS)
def test_torch_opens_it(name: str) -> None:
    tensor = torch.load(io.BytesIO(written(streamed())), weights_only=True)[name]
    expected = torch.from_numpy(ARRAYS[name])
    assert tensor.dtype == expected.dtype
    assert torch.equal(tensor, expected)
    assert tensor.is_contiguous()


def test_it_holds_what_torch_saves() -> None:
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in ARRAYS.items()}
    saved = io.BytesIO()
    torch.save(tensors, saved)
    ours, torchs = (read_torch_file(content) for content in (written(streamed()), saved.getvalue()))
    assert list(ours) == list(torchs) == list(ARRAYS)
    assert all(torch.equal(ours[name], torchs[name]) for name in ARRAYS)


@pytest.mark.parametrize("format", ["torch", "npz"])
def test_a_response_takes_the_memory_of_a_few_masks(format: str) -> None:
    """100 masks of 1000×1500, 150 MB, of which each is a small disc."""
    height, width, count = 1000, 1500, 100
    rows, columns = np.mgrid[-50:50, -50:50]
    crop = MaskCrop.of_columns(300, 700, (rows**2 + columns**2 < 50**2).T)
    masks = ImageMasks(height, width, [crop] * count)
    result = Result(
        np.zeros((height, width, 3), np.uint8),
        Detections(np.zeros((count, 4), np.float32), np.ones(count, np.float32), np.zeros(count, np.int64), masks),
        Model("any", ("class 0",), ""),
        response=ResponseOptions(format),
    )
    encode(result)
    tracemalloc.start()
    response = encode(result)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * height * width + 2 * len(response)
