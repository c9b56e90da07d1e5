"""TIFFs of microscopes and GIS have the values that tifffile and Pillow read, or are refused with what mends them."""

import io
import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from tensormask_server.images.depth import eight_bits
from tensormask_server.images.encoded import DecodedImage, EncodedImage
from tensormask_server.images.errors import ImageError
from tensormask_server.images.options import ImageOptions
from tensormask_server.images.signatures import SIGNATURES
from tensormask_server.images.tiff import TiffImage
from tensormask_server.images.tiff_blocks import Region

FILES = Path(__file__).parent / "files"
AUTO, NONE, MIN_MAX = (ImageOptions(stretch=name) for name in ("auto", "none", "min-max"))
ROWS, COLUMNS = np.mgrid[0:67, 0:91]
SMOOTH = (np.sin(COLUMNS / 9) + np.cos(ROWS / 7) + 2) / 4  # 0…1
# what the stored files show
Y, X = np.mgrid[0:48, 0:64]
STORED = np.stack([4 * X, 5 * Y, np.full_like(X, 90)], axis=-1).astype(np.uint8)
STORED_WAVES = (np.sin(X / 9) * 300 + Y).astype(np.float32)


def waves(dtype: str, bands: int) -> np.ndarray:
    """(67, 91, bands) that use most of the type's range."""
    shares = np.stack([np.roll(SMOOTH, 5 * band, axis=1) for band in range(bands)], axis=-1)
    if np.dtype(dtype).kind == "f":
        return (300 * shares - 20).astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return (low + 0.9 * (float(high) - low) * shares).astype(dtype)


def tiff(image: np.ndarray, photometric: str, planes: bool = False, **options: Any) -> bytes:
    """A file that tifffile writes of (H, W, C)."""
    content = io.BytesIO()
    bands = image.shape[2]
    stored = image[..., 0] if bands == 1 else np.moveaxis(image, -1, 0) if planes else image
    planar = None if bands == 1 else "separate" if planes else "contig"
    tifffile.imwrite(content, stored, photometric=photometric, planarconfig=planar, metadata=None, **options)
    return content.getvalue()


def decoded(content: bytes, options: ImageOptions = AUTO) -> DecodedImage:
    return EncodedImage(content, tuple(SIGNATURES)).decoded(options)


def refused(content: bytes, options: ImageOptions = AUTO) -> str:
    with pytest.raises(ImageError) as caught:
        decoded(content, options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


LAYOUTS = [
    {"planes": planes, "compression": compression, "byteorder": order, "bigtiff": is_big, **blocks}
    for planes, compression, order, is_big, blocks in itertools.product(
        (False, True),
        (None, "zlib", "lzma"),
        "<>",
        (False, True),
        ({"rowsperstrip": 9}, {"tile": (32, 48)}),
    )
]


@pytest.mark.parametrize("dtype", ["u1", "u2", "i1", "i2", "u4", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("bands", [1, 3])
def test_every_type_is_read_in_every_layout(dtype: str, bands: int) -> None:
    image = waves(dtype, bands)
    expected = image if dtype == "u1" else eight_bits(image.astype("f4") if dtype == "f8" else image, MIN_MAX)[0]
    for layout in LAYOUTS:
        content = tiff(image, "rgb" if bands == 3 else "minisblack", **layout)
        found = decoded(content, MIN_MAX).pixels
        np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape), str(layout))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2"])
@pytest.mark.parametrize("planes", [False, True])
def test_differences_between_neighbours_are_summed(dtype: str, planes: bool) -> None:
    image = waves(dtype, 3)
    content = tiff(image, "rgb", planes, compression="zlib", predictor=2, byteorder=">", tile=(32, 48))
    expected = image if dtype == "u1" else eight_bits(image, MIN_MAX)[0]
    np.testing.assert_array_equal(decoded(content, MIN_MAX).pixels, expected)


def test_the_predictor_of_floating_point_numbers_and_lzw_are_read() -> None:
    found = decoded((FILES / "floating_predictor.tif").read_bytes(), MIN_MAX).pixels
    np.testing.assert_array_equal(found[..., 0], eight_bits(STORED_WAVES, MIN_MAX)[0])
    found = decoded((FILES / "lzw16_planes.tif").read_bytes()).pixels
    np.testing.assert_array_equal(found, (STORED.astype(np.uint16) * 250) >> 8)


def test_white_is_zero_is_inverted_at_every_depth() -> None:
    for dtype in ("u1", "u2"):
        image = waves(dtype, 1)
        brightest = np.iinfo(dtype).max
        found = decoded(tiff(brightest - image, "miniswhite"), NONE).pixels[..., 0]
        np.testing.assert_array_equal(found, image[..., 0] >> (8 * (image.itemsize - 1)))


def test_three_bands_without_colours_are_red_green_and_blue() -> None:
    for dtype, options in (("u1", {}), ("u2", {}), ("u1", {"compression": "zlib", "tile": (16, 16)})):
        image = waves(dtype, 3)
        found = decoded(tiff(image, "minisblack", **options))
        np.testing.assert_array_equal(found.pixels, image >> (8 * (image.itemsize - 1)))
        assert found.notes == ("the TIFF's three grey bands were read as red, green and blue",)


def test_jpeg_in_planes_is_read() -> None:
    found = decoded((FILES / "gdal_jpeg_planes.tif").read_bytes()).pixels
    assert np.abs(found.astype(int) - STORED).mean() < 3


TWINS = [
    *itertools.product(["1"], ["group4", "tiff_ccitt", "packbits"]),
    *itertools.product(["L", "RGB", "YCbCr"], ["raw", "jpeg", "tiff_lzw", "tiff_deflate", "zstd", "packbits"]),
    *itertools.product(["P", "RGBA", "LAB", "CMYK"], ["raw", "tiff_lzw", "tiff_adobe_deflate"]),
]


@pytest.mark.parametrize(("mode", "compression"), TWINS)
def test_a_bigtiff_is_read_as_its_classic_twin(mode: str, compression: str) -> None:
    drawn = Image.fromarray(waves("u1", 3))
    image = Image.new("LAB", drawn.size, (120, 90, 200)) if mode == "LAB" else drawn.convert(mode)
    files = io.BytesIO(), io.BytesIO()
    for is_big, file in enumerate(files):
        image.save(file, "TIFF", compression=compression, big_tiff=bool(is_big))
    with Image.open(files[0]) as opened:
        classic: Image.Image = opened.convert("RGBA") if opened.has_transparency_data else opened.convert("RGB")
    if classic.mode == "RGBA":
        classic = Image.alpha_composite(Image.new("RGBA", classic.size, "white"), classic).convert("RGB")
    for file in files:
        np.testing.assert_array_equal(decoded(file.getvalue()).pixels, classic)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("alpha", ["unassalpha", "assocalpha"])
def test_what_is_transparent_is_white(dtype: str, planes: bool, alpha: str) -> None:
    image = waves(dtype, 4)
    image[:, :40, 3], image[:, 40:, 3] = 0, np.iinfo(dtype).max
    image[:, :40, :3] = 0
    found = decoded(tiff(image, "rgb", planes, extrasamples=[alpha])).pixels
    assert (found[:, :40] == 255).all()
    np.testing.assert_array_equal(found[:, 40:], image[:, 40:, :3] >> (8 * (image.itemsize - 1)))


def test_a_fourth_band_that_is_no_transparency_is_left_out() -> None:
    for planes in (False, True):
        image = waves("u1", 4)
        found = decoded(tiff(image, "rgb", planes, extrasamples=["unspecified"])).pixels
        np.testing.assert_array_equal(found, image[..., :3])


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_an_orientation_turns_the_image(dtype: str) -> None:
    image = waves(dtype, 3)
    found = decoded(tiff(image, "rgb", extratags=[(274, 3, 1, 6, True)])).pixels
    np.testing.assert_array_equal(found, np.rot90(image >> (8 * (image.itemsize - 1)), -1))


def test_missing_pixels_of_gdal_do_not_count_for_the_range() -> None:
    content = (FILES / "gdal_no_data.tif").read_bytes()
    found = decoded(content, MIN_MAX)
    expected = eight_bits(STORED_WAVES.astype(np.int16)[9:], MIN_MAX)[0]
    np.testing.assert_array_equal(found.pixels[9:, :, 0], expected)
    assert (found.pixels[:9] == 0).all()
    assert found.notes[0] == "the value -32768 stands for missing pixels; they are black"
    assert "numbers from -290 to 346; expected" in refused(content)


def test_blocks_that_gdal_left_out_are_zero() -> None:
    found = decoded((FILES / "gdal_sparse.tif").read_bytes())
    expected = np.zeros((64, 64, 3), np.uint8)
    expected[:32, 32:] = 200
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.notes == ("the TIFF leaves out some of its blocks; they are 0",)


def test_the_full_page_behind_a_thumbnail_is_read() -> None:
    content = io.BytesIO()
    image = waves("u1", 3)
    with tifffile.TiffWriter(content) as writer:
        writer.write(image[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(image, photometric="rgb", metadata=None)
    found = decoded(content.getvalue())
    np.testing.assert_array_equal(found.pixels, image)
    assert found.notes == ("page 2 of the TIFF was read, because those before it are reduced",)
    assert "only reduced images, such as thumbnails; the first has 17x23 pixels" in refused(
        tiff(image[::4, ::4], "rgb", subfiletype=1)
    )


def test_of_a_pyramid_and_of_several_pages_the_first_is_read() -> None:
    content = io.BytesIO()
    image = waves("u2", 1)
    with tifffile.TiffWriter(content, ome=True) as writer:
        writer.write(np.stack([image[..., 0], image[..., 0] // 2]), subifds=1, tile=(32, 32))
        writer.write(np.stack([image[::2, ::2, 0]] * 2), subfiletype=1, tile=(32, 32))
    np.testing.assert_array_equal(decoded(content.getvalue()).pixels[..., 0], image[..., 0] >> 8)


@pytest.mark.parametrize(
    ("make", "tags", "said"),
    [
        ("NIKON CORPORATION", {"photometric": 32803}, r"raw photograph (NEF); what could be read of it"),
        ("SONY", {"photometric": 32803}, r"raw photograph (ARW)"),
        ("Somebody", {"photometric": 34892}, r"darktable-cli photo.raw photo.jpg"),
        ("Somebody", {"photometric": 2, "extratags": [(50706, 1, 4, b"\1\4\0\0", True)]}, r"raw photograph (DNG)"),
    ],
)
def test_a_raw_photograph_is_refused_though_its_thumbnail_could_be_read(
    make: str, tags: dict[str, Any], said: str
) -> None:
    content = io.BytesIO()
    with tifffile.TiffWriter(content) as writer:
        thumbnail = waves("u1", 3)[::4, ::4]
        maker = [(271, 2, 0, make, True)]
        writer.write(thumbnail, photometric="rgb", subfiletype=1, subifds=1, extratags=maker, metadata=None)
        sensor = waves("u2", 1 if tags["photometric"] == 32803 else 3).squeeze()
        writer.write(sensor, metadata=None, **tags)
    assert said in refused(content.getvalue())


@pytest.mark.parametrize(
    ("image", "options", "cause", "mends"),
    [
        (waves("u1", 2), {}, "has 2 bands, and doesn't say which are colours", "gdal_translate -b 1 in.tif out.tif"),
        (waves("u2", 4), {"planes": True}, "has 4 bands", "gdal_translate -b 1 -b 2 -b 3 -co PHOTOMETRIC=RGB"),
        (waves("u1", 7), {}, "has 7 bands", "the three bands to use as red, green and blue"),
        (waves("f4", 1), {}, "floating-point numbers from -19.9", "the option stretch with the value min-max"),
        (waves("i2", 1), {}, "signed numbers from -32752 to", "the option stretch with the value min-max"),
        (waves("u4", 1), {}, "numbers from 1010706 to 3865358333", "the option stretch with the value min-max"),
        (waves("f4", 1).astype("c8"), {}, "values are complex numbers", "gdal_translate -ot Float32"),
        (waves("i8", 1), {}, "integers of 64 bits", "gdal_translate -ot Float32"),
    ],
)
def test_what_is_not_read_is_refused_with_what_mends_it(
    image: np.ndarray, options: dict[str, Any], cause: str, mends: str
) -> None:
    message = refused(tiff(image, "minisblack", **options))
    assert cause in message
    assert mends in message


def test_a_compression_that_is_not_read_is_named() -> None:
    message = refused((FILES / "gdal_lerc.tif").read_bytes())
    assert "compressed as LERC" in message
    assert "gdal_translate -co COMPRESS=DEFLATE in.tif out.tif" in message


def test_regions_are_those_of_the_whole_image() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (67, 91, 3), np.uint8)
    for layout in LAYOUTS:
        opened = TiffImage(tiff(image, "rgb", **layout))
        assert opened.is_read_by_region
        for _ in range(5):
            top, left = int(random.integers(0, 67)), int(random.integers(0, 91))
            height, width = int(random.integers(1, 68 - top)), int(random.integers(1, 92 - left))
            found = opened.region(Region(top, left, height, width), AUTO)
            np.testing.assert_array_equal(found, image[top : top + height, left : left + width], str(layout))
    assert not TiffImage(tiff(waves("u2", 3), "rgb")).is_read_by_region  # its stretch needs the whole image


def test_tiles_as_tall_as_a_huge_image_are_not_read_by_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each strip of a few rows would decode all of them."""
    image = np.zeros((128, 96, 3), np.uint8)
    monkeypatch.setattr("tensormask_server.images.tiff.LARGEST_ROW", 128 * 96 - 1)
    assert not TiffImage(tiff(image, "rgb", tile=(128, 16))).is_read_by_region
    assert TiffImage(tiff(image, "rgb", tile=(64, 16))).is_read_by_region


# --- hostile files ----------------------------------------------------------------------------------------------------


def tags(**values: int | tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    numbers = {"width": 256, "length": 257, "bits": 258, "compression": 259, "photometric": 262, "offsets": 273}
    numbers |= {"samples": 277, "rows": 278, "counts": 279, "planar": 284, "tile_width": 322, "tile_length": 323}
    return {numbers[name]: each if isinstance(each, tuple) else (each,) for name, each in values.items()}


def crafted(entries: dict[int, tuple[int, ...]], next_page: int = 0, more: bytes = b"") -> bytes:
    """A little-endian TIFF of one page whose tags are of 4 bytes each, with other data behind it."""
    start = 8 + 2 + 12 * len(entries) + 4
    packed, arrays = b"", b""
    for tag, each in sorted(entries.items()):
        place = each[0] if len(each) == 1 else start + len(arrays)
        arrays += b"" if len(each) == 1 else struct.pack(f"<{len(each)}I", *each)
        packed += struct.pack("<HHII", tag, 4, len(each), place)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + struct.pack("<I", next_page) + arrays + more


GREY = tags(width=8, length=8, bits=8, compression=1, photometric=1, offsets=0, samples=1, rows=8, counts=64)
SAME_BLOCKS = {"offsets": (0,) * 100, "counts": (10,) * 100}


def test_the_crafted_file_is_read() -> None:
    assert decoded(crafted(GREY)).pixels.shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (tags(tile_width=1 << 30, tile_length=1 << 30), "has tiles of 1073741824×1073741824 pixels"),
        (tags(width=1 << 30, length=1 << 30), "a height of 1073741824"),
        (tags(width=0), "a width of 0"),
        (tags(rows=0), "has tiles of 0×8 pixels"),
        (tags(samples=1 << 20), "1048576 samples"),
        (
            tags(samples=4000, photometric=2, width=4096, length=2048, rows=2048),
            "4000 samples of 8 bits a pixel, stored together",
        ),
        (
            tags(width=1, length=100, compression=8, tile_width=1 << 22, tile_length=1, **SAME_BLOCKS),
            "100 blocks of 1×4194304 pixels, which are far more",
        ),
        (
            tags(samples=4000, photometric=2, width=4096, length=100, rows=1, compression=8, **SAME_BLOCKS),
            "4000 samples of 8 bits, has 100 blocks of 1×4096 pixels, which are far more",
        ),
        (tags(rows=1), "lists 1 strips, and its size needs 8"),
        (tags(offsets=1 << 31), "strips lie beyond its end"),
        (tags(offsets=1 << 31, compression=8), "strips lie beyond its end"),
        (tags(counts=1 << 31, compression=8), "strips lie beyond its end"),
        (tags(offsets=160), "it ends before its pixels do"),
        (tags(bits=(8, 16), samples=2), "samples differ: bits 8 and 16"),
        (tags(bits=7), "values have 7 bits"),
        (tags(compression=77), "compressed as number 77"),
        (tags(photometric=99), "colours are of kind 99"),
        (tags(photometric=2), "1 samples a pixel, and its colours need 3"),
    ],
)
def test_numbers_that_lie_are_refused_before_memory_is_taken(changed: dict[int, tuple[int, ...]], said: str) -> None:
    assert said in refused(crafted({**GREY, **changed}, more=bytes(64)))


def test_pages_in_a_circle_end() -> None:
    assert decoded(crafted(GREY, next_page=8)).pixels.shape == (8, 8, 3)
    reduced = {254: (1,), **GREY}
    assert "only reduced images" in refused(crafted(reduced, next_page=8))


def test_damage_behind_the_first_page_costs_nothing() -> None:
    assert decoded(crafted(GREY, next_page=1 << 31)).pixels.shape == (8, 8, 3)


def test_a_count_of_values_beyond_the_file_is_named() -> None:
    content = bytearray(crafted(GREY))
    entry = content.index(struct.pack("<HH", 273, 4))
    content[entry + 4 : entry + 12] = struct.pack("<II", 0xFFFFFFFF, 8)
    assert "its tag 273 has 4294967295 values, more than the file's bytes hold" in refused(bytes(content))
