"""Which images are accepted, and how they are resized, normalised and padded."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensormask_server import Predictor
from tensormask_server.network.config import InputConfig
from tensormask_server.prediction.inputs import group_by_padded_shape, normalised_batch, resize_image

from tests.unit.small_network import assert_alike, noise, small_predictor


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return small_predictor()


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((5, 6, 3), np.float32), r"float32 \(5, 6, 3\)"),
        (np.zeros((5, 6, 3), np.int64), r"int64 \(5, 6, 3\)"),
        (np.zeros((5, 6), np.uint8), r"uint8 \(5, 6\)"),
        (np.zeros((3, 5, 6), np.uint8), r"uint8 \(3, 5, 6\)"),
        (np.zeros((5, 6, 4), np.uint8), r"uint8 \(5, 6, 4\)"),
        (np.zeros((1, 5, 6, 3), np.uint8), r"uint8 \(1, 5, 6, 3\)"),
        (np.zeros((0, 6, 3), np.uint8), r"uint8 \(0, 6, 3\)"),
        (np.zeros((5, 0, 3), np.uint8), r"uint8 \(5, 0, 3\)"),
        ([[[1, 2, 3]]], "list"),
        (torch.zeros(5, 6, 3, dtype=torch.uint8), "Tensor"),
        (None, "NoneType"),
    ],
)
def test_the_error_says_what_was_given_instead_of_an_image(predictor: Predictor, image: Any, found: str) -> None:
    with pytest.raises(ValueError, match=rf"an image is {found}; expected uint8 \(H, W, 3\), RGB"):
        predictor([noise(8, 8), image])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("min_size", [0, 96])
def test_an_image_may_have_any_layout_in_memory(min_size: int) -> None:
    """Mirrored, cropped from a larger one, in Fortran order, read-only, from Pillow; and it isn't written to."""
    predictor = small_predictor({"INPUT.MIN_SIZE_TEST": min_size})
    image = noise(96, 128)
    larger = noise(200, 300)
    larger[10:106, 20:148] = image
    read_only = image.copy()
    read_only.flags.writeable = False
    [expected] = predictor([image.copy()])
    variants = [image[:, ::-1].copy()[:, ::-1], larger[10:106, 20:148], np.asfortranarray(image), read_only]
    for found in (*predictor(variants), *predictor([np.asarray(Image.fromarray(image))])):
        assert_alike(found, expected)
    assert np.array_equal(image, noise(96, 128))


@pytest.mark.parametrize(("order", "channels"), [("RGB", [0, 1, 2]), ("BGR", [2, 1, 0])])
def test_the_network_sees_normalised_channels_in_its_order_and_zeros_around(order: str, channels: list[int]) -> None:
    mean, std = [10.0, 20.0, 30.0], [1.0, 2.0, 4.0]
    options = {"INPUT.FORMAT": order, "MODEL.PIXEL_MEAN": mean, "MODEL.PIXEL_STD": std, "INPUT.MIN_SIZE_TEST": 0}
    predictor = small_predictor(options)
    seen: list[torch.Tensor] = []
    predictor.network.backbone.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    image = noise(50, 70)
    predictor([image])
    expected = np.zeros((3, 64, 96))
    expected[:, :50, :70] = ((image[..., channels] - np.array(mean)) / std).transpose(2, 0, 1)
    np.testing.assert_allclose(seen[0].numpy(), expected[None], rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((500, 1000), (667, 1333)),
        ((1000, 333), (1333, 444)),
        ((800, 1333), (800, 1333)),
        ((1, 1), (800, 800)),
        ((1, 5000), (1, 1333)),
    ],
)
def test_images_are_resized_as_the_reference_does(size: tuple[int, int], resized: tuple[int, int]) -> None:
    options = InputConfig("BGR", (0, 0, 0), (1, 1, 1), 800, 1333)
    image = noise(*size)
    ours = resize_image(image, options)
    assert ours.shape == (*resized, 3)
    pillows = Image.fromarray(image).resize(resized[::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(ours, np.asarray(pillows))


def test_images_of_several_sizes_are_padded_to_one() -> None:
    """The training's batches have such images."""
    config = InputConfig("RGB", (1, 2, 3), (2, 4, 8), 0, 0)
    images = [noise(40, 30, seed=1), noise(20, 70, seed=2)]
    batch = normalised_batch(images, config, 32, torch.device("cpu"))
    expected = np.zeros((2, 64, 96, 3), np.float32)
    for padded, image in zip(expected, images, strict=True):
        padded[: image.shape[0], : image.shape[1]] = (image - np.float32([1, 2, 3])) / np.float32([2, 4, 8])
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(batch.numpy(), expected.transpose(0, 3, 1, 2))


def test_images_are_grouped_by_the_shape_that_they_are_padded_to() -> None:
    images = [noise(*size) for size in ((32, 64), (20, 40), (33, 64), (1, 33), (31, 64))]
    assert list(group_by_padded_shape(images, 32, 2)) == [[0, 1], [3, 4], [2]]
    assert list(group_by_padded_shape(images, 32, 8)) == [[0, 1, 3, 4], [2]]
