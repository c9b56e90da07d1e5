"""Decodes chosen blocks (strips or tiles) of a TIFF's page, so that a part of a large image can be read.

libtiff decompresses them. It gets a small TIFF with the chosen blocks and the few tags that they need.
"""

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from tensormask_server.images import tiff_tags
from tensormask_server.images.errors import ImageError
from tensormask_server.images.tiff_layout import UNCOMPRESSED, YCBCR, Layout
from tensormask_server.images.tiff_tags import Page

# the compressions of bytes of any meaning: none, LZW, Deflate, PackBits, Deflate by another number, LZMA, ZSTD
BYTE_COMPRESSIONS = (UNCOMPRESSED, 5, 8, 32773, 32946, 34925, 50000)
HORIZONTAL, FLOATING_POINT = 2, 3  # predictors
BLACK_IS_ZERO, CMYK = 1, 5
DECODED_AT_ONCE = 1 << 24  # bytes
# the tags that say how samples are stored, and what they mean
KEPT = (258, 259, 262, 266, 277, 292, 293, 317, 320, 332, 338, 339, 347, 529, 530, 531, 532)
MOST_VALUES = 3 << 16  # of one of these tags: a palette of 16 bits; Pillow makes a Python object of each
OF_EACH_SAMPLE = (tiff_tags.BITS, tiff_tags.SAMPLE_FORMAT)

Values = tuple[int, np.ndarray]  # a key of TYPES, and the values of a tag


class Region(NamedTuple):
    """A part of a page, in pixels."""

    top: int
    left: int
    height: int
    width: int


class _Cover(NamedTuple):
    """The blocks that cover a region: their rows and columns, without the ends."""

    top: int
    bottom: int
    left: int
    right: int


def read_samples(page: Page, layout: Layout, region: Region, samples: Sequence[int]) -> np.ndarray:
    """Reads some samples of each pixel of a region.

    Args:
        page: of a TIFF. Its compression is one of BYTE_COMPRESSIONS, or it has planes of 8 bits.
        layout: the page's. Its samples have 8, 16, 32 or 64 bits.
        region: within the page.
        samples: their numbers.

    Returns:
        (h, w, len(samples)) in native byte order, in the type of the samples; float32 for floating-point numbers of 64
        bits. A block that the file leaves out is 0.

    Raises:
        ImageError: a block is damaged.
    """
    stored = np.dtype(f"{layout.kind}{layout.bits // 8}")
    result = np.zeros((region.height, region.width, len(samples)), np.float32 if stored == np.float64 else stored)
    if not layout.is_planar:
        _fill(result, page, layout, region, 0, list(samples))
        return result
    for index, plane in enumerate(samples):
        if layout.compression in BYTE_COMPRESSIONS:
            _fill(result[..., index : index + 1], page, layout, region, plane, [0])
        else:
            result[..., index] = np.asarray(open_region(page, layout, region, BLACK_IS_ZERO, plane))
    return result


def open_region(page: Page, layout: Layout, region: Region, photometric: int, plane: int = 0) -> Image.Image:
    """Decodes a region as an image of Pillow, for compressions and colours that Pillow reads right.

    Args:
        page: of a TIFF.
        layout: the page's.
        region: within the page.
        photometric: what the samples mean, by TIFF's number. It can differ from what the page says.
        plane: of the samples, if the page has planes.

    Returns:
        The region, in the mode that Pillow reads it in. It isn't turned.

    Raises:
        ImageError: the file leaves out a part of the region.
    """
    cover = _cover(layout, region)
    blocks = _numbers(layout, cover, plane)
    if (layout.counts[blocks] == 0).any():
        raise ImageError("the TIFF leaves out some of its pixels", "gdal_translate -co SPARSE_OK=FALSE in.tif out.tif")
    if layout.compression == UNCOMPRESSED and layout.photometric != YCBCR:  # with fewer bytes for colours
        _check_stored(layout, blocks)
    top, left = cover.top * layout.block_height, cover.left * layout.block_width
    height = min(cover.bottom * layout.block_height, layout.height) - top
    width = min(cover.right * layout.block_width, layout.width) - left
    tags = {tag: (page.tags[tag].type, page.values(tag)[:MOST_VALUES]) for tag in KEPT if tag in page}
    numbers = {tiff_tags.WIDTH: width, tiff_tags.LENGTH: height, tiff_tags.PHOTOMETRIC: photometric}
    if photometric != layout.photometric or layout.is_planar:
        tags.pop(tiff_tags.EXTRA_SAMPLES, None)
    if layout.is_planar:
        tags = {tag: (type, values[:1] if tag in OF_EACH_SAMPLE else values) for tag, (type, values) in tags.items()}
        numbers[tiff_tags.SAMPLES] = 1
    tags |= _longs(page.order, numbers) | _geometry(page.order, layout)
    content = _small_tiff(page, layout, blocks, tags)
    with Image.open(io.BytesIO(content), formats=("TIFF",)) as image:
        image.load()
        if (height, width) == (region.height, region.width):
            return image
        y, x = region.top - top, region.left - left
        return image.crop((x, y, x + region.width, y + region.height))


def _fill(result: np.ndarray, page: Page, layout: Layout, region: Region, plane: int, samples: list[int]) -> None:
    """Writes some samples of a region, which is in one plane or the whole page, into an array of zeros."""
    cover = _cover(layout, region)
    dtype = np.dtype(f"{layout.kind}{layout.bits // 8}")
    at_once = max(1, DECODED_AT_ONCE // ((cover.right - cover.left) * layout.block_bytes))
    for top in range(cover.top, cover.bottom, at_once):
        numbers = _numbers(layout, cover._replace(top=top, bottom=min(top + at_once, cover.bottom)), plane)
        blocks = [block for block in numbers if layout.counts[block] > 0]
        for block, decoded in zip(blocks, _decoded(page, layout, blocks, dtype), strict=True):
            row, column = _position(layout, block)
            y, x = row * layout.block_height - region.top, column * layout.block_width - region.left
            inside = decoded[max(0, -y) : region.height - y, max(0, -x) : region.width - x, samples]
            y, x = max(0, y), max(0, x)
            with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite
                result[y : y + inside.shape[0], x : x + inside.shape[1]] = inside


def _cover(layout: Layout, region: Region) -> _Cover:
    return _Cover(
        region.top // layout.block_height,
        -(-(region.top + region.height) // layout.block_height),
        region.left // layout.block_width,
        -(-(region.left + region.width) // layout.block_width),
    )


def _numbers(layout: Layout, cover: _Cover, plane: int) -> list[int]:
    first = plane * layout.blocks_down * layout.blocks_across
    return [
        first + row * layout.blocks_across + column
        for row in range(cover.top, cover.bottom)
        for column in range(cover.left, cover.right)
    ]


def _position(layout: Layout, block: int) -> tuple[int, int]:
    """The row and the column of a block."""
    return divmod(block % (layout.blocks_down * layout.blocks_across), layout.blocks_across)


def _decoded(page: Page, layout: Layout, blocks: Sequence[int], dtype: np.dtype) -> Iterator[np.ndarray]:
    """The samples of blocks: (rows, columns, samples) each."""
    samples = layout.samples_of_a_block
    row_bytes = layout.block_width * samples * dtype.itemsize
    rows = [_rows(layout, block) for block in blocks]
    if layout.compression == UNCOMPRESSED:
        _check_stored(layout, blocks)
        parts = [page.content[_bytes_of(layout, block)][: row_bytes * _rows(layout, block)] for block in blocks]
        decoded = np.frombuffer(b"".join(parts), np.uint8).reshape(sum(rows), row_bytes)
    elif blocks:
        decoded = _decompressed(page, layout, blocks, sum(rows), row_bytes)
    start = 0
    for each in rows:
        values = _without_predictor(decoded[start : start + each], layout, dtype, page.order)
        yield values.reshape(each, layout.block_width, samples)
        start += each


def _rows(layout: Layout, block: int) -> int:
    """The rows of pixels in a block. The last strip of a page can have fewer than the others."""
    if layout.is_tiled:
        return layout.block_height
    return min(layout.block_height, layout.height - _position(layout, block)[0] * layout.block_height)


def _check_stored(layout: Layout, blocks: Sequence[int]) -> None:
    """Checks that the file has all bytes of uncompressed blocks."""
    row_bytes = layout.block_bytes // layout.block_height
    if any(layout.counts[block] < _rows(layout, block) * row_bytes for block in blocks):
        raise ImageError("the TIFF is damaged: it ends before its pixels do")


def _decompressed(page: Page, layout: Layout, blocks: Sequence[int], rows: int, row_bytes: int) -> np.ndarray:
    """The bytes of blocks, one below the other: uint8 (rows, bytes of a row). A predictor is still in them."""
    # four bytes a pixel, as far as possible: Pillow limits the number of pixels
    samples = 4 if row_bytes % 4 == 0 else 1
    numbers = {
        tiff_tags.WIDTH: row_bytes // samples,
        tiff_tags.LENGTH: rows,
        tiff_tags.COMPRESSION: layout.compression,
        tiff_tags.PHOTOMETRIC: CMYK if samples == 4 else BLACK_IS_ZERO,
        tiff_tags.FILL_ORDER: page.number(tiff_tags.FILL_ORDER, 1),
        tiff_tags.SAMPLES: samples,
        tiff_tags.ROWS_PER_STRIP: layout.block_height,
    }
    tags = _longs(page.order, numbers) | {tiff_tags.BITS: (3, np.full(samples, 8, page.order + "u2"))}
    content = _small_tiff(page, layout, blocks, tags)
    with Image.open(io.BytesIO(content), formats=("TIFF",)) as image:
        return np.array(image).reshape(rows, row_bytes)


def _without_predictor(rows: np.ndarray, layout: Layout, dtype: np.dtype, order: str) -> np.ndarray:
    """From the bytes of rows to values: the reverse of what the predictor did before the compression."""
    samples = layout.samples_of_a_block
    if layout.compression != UNCOMPRESSED and layout.predictor == FLOATING_POINT:
        # each row has the first bytes of all its values, then all second bytes, and so on; then differences of bytes
        differences = rows.reshape(len(rows), -1, samples)
        summed = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(len(rows), dtype.itemsize, -1)
        return np.ascontiguousarray(summed.swapaxes(1, 2)).view(dtype.newbyteorder(">"))[..., 0].astype(dtype)
    values = rows.view(np.dtype(f"{order}{dtype.str[1:]}"))
    if layout.compression != UNCOMPRESSED and layout.predictor == HORIZONTAL:
        unsigned = values.view(f"{order}u{dtype.itemsize}").reshape(len(rows), -1, samples)
        return np.cumsum(unsigned, axis=1, dtype=f"u{dtype.itemsize}").view(dtype)
    return values.astype(dtype, copy=False)


def _bytes_of(layout: Layout, block: int) -> slice:
    start = int(layout.offsets[block])
    return slice(start, start + int(layout.counts[block]))


def _geometry(order: str, layout: Layout) -> dict[int, Values]:
    if layout.is_tiled:
        return _longs(order, {tiff_tags.TILE_WIDTH: layout.block_width, tiff_tags.TILE_LENGTH: layout.block_height})
    return _longs(order, {tiff_tags.ROWS_PER_STRIP: layout.block_height})


def _longs(order: str, numbers: Mapping[int, int]) -> dict[int, Values]:
    return {tag: (4, np.array([value], order + "u4")) for tag, value in numbers.items()}


def _small_tiff(page: Page, layout: Layout, blocks: Sequence[int], tags: Mapping[int, Values]) -> bytes:
    """A classic TIFF of some blocks of a page, in the byte order of the page."""
    is_tiled = tiff_tags.TILE_WIDTH in tags
    order = page.order
    counts = layout.counts[blocks]
    offsets = 8 + np.concatenate([[0], np.cumsum(counts[:-1])])
    if offsets[-1] + counts[-1] >= 1 << 32:
        raise ImageError("the TIFF has more than 4 GB")
    tags = dict(tags)
    tags[tiff_tags.TILE_OFFSETS if is_tiled else tiff_tags.STRIP_OFFSETS] = (4, offsets.astype(order + "u4"))
    tags[tiff_tags.TILE_COUNTS if is_tiled else tiff_tags.STRIP_COUNTS] = (4, counts.astype(order + "u4"))
    parts = [page.content[_bytes_of(layout, block)] for block in blocks]
    position = 8 + sum(map(len, parts))
    parts.append(bytes(position % 2))
    position += position % 2
    entries = []
    for tag, (type, values) in sorted(tags.items()):
        content = values.tobytes()
        count = len(values) // (2 if type in tiff_tags.RATIONALS else 1)
        if len(content) > 4:
            parts.append(content + bytes(len(content) % 2))
            place = struct.pack(order + "I", position)
            position += len(parts[-1])
        else:
            place = content.ljust(4, b"\0")
        entries.append(struct.pack(order + "HHI4s", tag, type, count, place))
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", position)
    return b"".join([start, *parts, struct.pack(order + "H", len(entries)), *entries, bytes(4)])
