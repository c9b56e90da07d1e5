"""Values beyond 8 bits become 8 bits as the option `stretch` says, and the notes say what was done."""

import numpy as np
import pytest
from skimage.exposure import rescale_intensity
from tensormask_server.images.depth import eight_bits
from tensormask_server.images.errors import ImageError
from tensormask_server.images.options import ImageOptions
from tensormask_server.option_choices import STRETCHES


def values(low: int, high: int, dtype: type[np.generic] = np.uint16) -> np.ndarray:
    made = np.random.default_rng(0).integers(low, high, (40, 50), endpoint=True).astype(dtype)
    made[0, :2] = low, high
    return made


@pytest.mark.parametrize("stretch", ["auto", "none"])
def test_full_16_bits_are_divided_by_256(stretch: str) -> None:
    image = values(0, 65535)
    pixels, notes = eight_bits(image, ImageOptions(stretch))
    np.testing.assert_array_equal(pixels, image >> 8)
    assert notes == ()


def test_12_bits_in_16_are_stretched_by_the_largest_value_and_the_note_says_so() -> None:
    image = values(100, 4095)
    pixels, notes = eight_bits(image, ImageOptions())
    np.testing.assert_allclose(pixels, image * (255 / 4095), atol=0.5)
    assert notes == ("values from 0 to 4095 were stretched to 0 to 255 (stretch=auto)",)
    dark, no_notes = eight_bits(image, ImageOptions("none"))
    np.testing.assert_array_equal(dark, image >> 8)
    assert no_notes == ()


def test_4096_is_beyond_12_bits() -> None:
    image = values(0, 4096)
    np.testing.assert_array_equal(eight_bits(image, ImageOptions())[0], image >> 8)


def test_the_channels_keep_their_proportions() -> None:
    image = np.array([[[4000, 2000, 0], [1000, 4000, 400]]], np.uint16)
    np.testing.assert_array_equal(eight_bits(image, ImageOptions())[0], [[[255, 128, 0], [64, 255, 26]]])


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.uint32, np.float32, np.float64])
@pytest.mark.parametrize("stretch", ["min-max", "percentile"])
def test_a_stretch_is_scikit_images(dtype: type[np.generic], stretch: str) -> None:
    image = values(-3000 if np.dtype(dtype).kind in "if" else 1000, 30000, dtype)
    in_range = tuple(np.percentile(image, (1, 99))) if stretch == "percentile" else "image"
    expected = rescale_intensity(image.astype(np.float64), in_range, (0, 255))
    pixels, (note,) = eight_bits(image, ImageOptions(stretch))
    np.testing.assert_allclose(pixels, expected, atol=0.5 + 1e-6)
    assert note.endswith(f"(stretch={stretch})")


@pytest.mark.parametrize("stretch", ["auto", "none"])
@pytest.mark.parametrize(
    ("image", "found"),
    [
        (values(-200, 3000, np.int16), "numbers from -200 to 3000"),
        (values(7, 65536, np.uint32), "numbers from 7 to 65536"),
        (values(0, 1, np.float32), "floating-point numbers from 0 to 1"),
        (np.full((2, 2), np.nan), "no finite numbers"),
    ],
)
def test_other_values_are_refused_with_their_range_unless_stretched(
    image: np.ndarray, found: str, stretch: str
) -> None:
    with pytest.raises(ImageError, match=found) as caught:
        eight_bits(image, ImageOptions(stretch))
    assert "min-max or percentile" in caught.value.expected


def test_what_is_not_finite_is_black() -> None:
    image = np.array([[np.nan, np.inf, -np.inf, 5.0, 10.0]], np.float32)
    np.testing.assert_array_equal(eight_bits(image, ImageOptions("min-max"))[0], [[0, 0, 0, 0, 255]])


@pytest.mark.parametrize("largest", [1e308, 1e-310, 5e-324])
def test_a_range_that_no_number_can_hold_is_black(largest: float) -> None:
    image = np.array([[-largest, 0, largest]])
    np.testing.assert_array_equal(eight_bits(image, ImageOptions("min-max"))[0], [[0, 0, 0]])


@pytest.mark.parametrize("stretch", STRETCHES)
@pytest.mark.parametrize("value", [0, 300, 65535])
def test_one_value_everywhere_is_no_division_by_zero(stretch: str, value: int) -> None:
    with np.errstate(all="raise"):
        assert eight_bits(np.full((3, 4), value, np.uint16), ImageOptions(stretch))[0].shape == (3, 4)


def test_strips_of_a_large_image_join() -> None:
    image = np.arange(3000 * 1000, dtype=np.uint32).reshape(3000, 1000)
    pixels, _ = eight_bits(image, ImageOptions("min-max"))
    np.testing.assert_array_equal(pixels, np.rint(image * (255 / image.max())))
