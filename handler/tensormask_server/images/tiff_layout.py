"""How a page of a TIFF stores its pixels: its size, samples, and the blocks (strips or tiles) that hold them."""

from dataclasses import dataclass, replace

import numpy as np

from tensormask_server.images import tiff_tags
from tensormask_server.images.errors import ImageError
from tensormask_server.images.tiff_tags import Page

# A whole tile is decoded even for a small image. Usual tiles have 256×256 to 1024×1024 pixels.
LARGEST_TILE = 1 << 22
LARGEST_SIDE = 1 << 24  # pixels; far beyond any limit, and products of two sides fit into int64
SHORT_STRIP = 1 << 22  # bytes
SMALLEST_TILE = 256  # pixels, 16×16, as TIFF's specification has it
MOST_BLOCKS = 1 << 21  # 20,000×20,000 pixels in tiles of 16×16 have 1.6 million
MOST_SHARED = 4  # times the file's length that its blocks have together; some writers store equal blocks once
MOST_SAMPLES = 4096  # of a pixel; hyperspectral cameras have hundreds
MOST_BYTES = 16  # of a pixel in a block that is decoded as a whole: RGB and alpha of 32 bits
# All compressed blocks together may be so many times as large, because tiles reach beyond the image and pixels have
# other samples. A block of zeros has 100 bytes in ZSTD, however large it is.
MOST_AROUND = 4
KINDS = {1: "u", 2: "i", 3: "f", 4: "u", 5: "c", 6: "c"}  # NumPy's kinds by SampleFormat
CHUNKY, PLANAR = 1, 2
UNCOMPRESSED = 1
YCBCR = 6  # its uncompressed samples can be fewer for colours than for brightness


@dataclass(frozen=True)
class Layout:
    """How a page stores its pixels."""

    height: int  # pixels
    width: int  # pixels
    samples: int  # of each pixel
    bits: int  # of each sample
    kind: str  # of the samples: u, i, f or c, as in NumPy
    photometric: int
    extra_samples: tuple[int, ...]  # what the last samples are: 0 unknown, 1 premultiplied alpha, 2 alpha
    compression: int
    predictor: int
    is_planar: bool  # each sample has its own blocks
    is_tiled: bool
    block_height: int  # pixels. The last strip of a page can have fewer rows
    block_width: int  # pixels
    offsets: np.ndarray  # int64, of the blocks in the file: by row and then column of blocks; planes one after another
    counts: np.ndarray  # int64, bytes of each block; 0 if the file leaves it out

    @property
    def blocks_down(self) -> int:
        return -(-self.height // self.block_height)

    @property
    def blocks_across(self) -> int:
        return -(-self.width // self.block_width)

    @property
    def block_bytes(self) -> int:
        """The bytes of a block once it is decompressed."""
        return self.block_height * -(-self.block_width * self.bits * self.samples_of_a_block // 8)

    @property
    def samples_of_a_block(self) -> int:
        """The samples of each pixel of a block."""
        return 1 if self.is_planar else self.samples


def layout_of(page: Page) -> Layout:
    """Reads how a page stores its pixels.

    Raises:
        ImageError: its tags contradict one another, or its blocks lie outside of the file.
    """
    height, width = page.number(tiff_tags.LENGTH, 0), page.number(tiff_tags.WIDTH, 0)
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise ImageError(f"the TIFF's page has a height of {height} and a width of {width} pixels")
    samples = page.number(tiff_tags.SAMPLES, 1)
    if not 1 <= samples <= MOST_SAMPLES:
        raise ImageError(f"the TIFF's pixels have {samples} samples each", f"1 to {MOST_SAMPLES}")
    is_tiled = tiff_tags.TILE_WIDTH in page
    block_height = page.number(tiff_tags.TILE_LENGTH if is_tiled else tiff_tags.ROWS_PER_STRIP, height)
    block_width = page.number(tiff_tags.TILE_WIDTH, width)
    if not is_tiled:
        block_height = min(block_height, height)
    smallest = SMALLEST_TILE if is_tiled else 1
    if not smallest <= block_height * block_width <= max(LARGEST_TILE, height * width):
        raise ImageError(
            f"the TIFF, {height}×{width} pixels, has tiles of {block_height}×{block_width} pixels",
            f"tiles of {SMALLEST_TILE} to {LARGEST_TILE} pixels, such as 256×256",
        )
    is_planar = samples > 1 and page.number(tiff_tags.PLANAR, CHUNKY) == PLANAR
    empty = np.zeros(0, np.int64)
    layout = Layout(
        height=height,
        width=width,
        samples=samples,
        bits=_same(page, tiff_tags.BITS, 1, "bits"),
        kind=KINDS.get(_same(page, tiff_tags.SAMPLE_FORMAT, 1, "sample format"), "u"),
        photometric=page.number(tiff_tags.PHOTOMETRIC, 0),
        extra_samples=tuple(page.values(tiff_tags.EXTRA_SAMPLES)[:samples].tolist()),
        compression=page.number(tiff_tags.COMPRESSION, UNCOMPRESSED),
        predictor=page.number(tiff_tags.PREDICTOR, 1),
        is_planar=is_planar,
        is_tiled=is_tiled,
        block_height=block_height,
        block_width=block_width,
        offsets=empty,
        counts=empty,
    )
    offsets, counts = _blocks(page, layout)
    layout = _in_short_strips(replace(layout, offsets=offsets, counts=counts))
    most = MOST_BYTES * max(LARGEST_TILE, height * width)
    blocks = layout.blocks_down * layout.blocks_across
    if layout.compression != UNCOMPRESSED and blocks * layout.block_bytes > MOST_AROUND * most:
        raise ImageError(
            f"the TIFF, {height}×{width} pixels with {samples} samples of {layout.bits} bits, has {blocks} blocks of "
            f"{block_height}×{block_width} pixels, which are far more when they are decompressed",
            "tiles that fit the image, and only the bands to use: "
            "gdal_translate -b 1 -b 2 -b 3 -co PHOTOMETRIC=RGB -co TILED=YES in.tif out.tif",
        )
    if layout.block_bytes > most:
        raise ImageError(
            f"the TIFF has {samples} samples of {layout.bits} bits a pixel, stored together in blocks of "
            f"{block_height}×{block_width} pixels",
            "the bands to use: gdal_translate -b 1 -b 2 -b 3 -co PHOTOMETRIC=RGB in.tif out.tif",
        )
    return layout


def _in_short_strips(layout: Layout) -> Layout:
    """The same uncompressed rows in shorter strips, if each plane is one long strip."""
    rows = SHORT_STRIP // (layout.block_bytes // layout.block_height)
    is_one_strip = not layout.is_tiled and layout.block_height == layout.height and (layout.counts > 0).all()
    if (
        layout.compression != UNCOMPRESSED
        or layout.photometric == YCBCR
        or not is_one_strip
        or not 0 < rows < layout.height
    ):
        return layout
    size = rows * layout.block_bytes // layout.block_height
    inside = np.arange(-(-layout.height // rows)) * size
    counts = (layout.counts[:, None] - inside).clip(0, size)
    return replace(
        layout,
        block_height=rows,
        offsets=(layout.offsets[:, None] + inside).ravel(),
        counts=counts.ravel().clip(min=1),  # 0 would stand for a strip that isn't in the file
    )


def _same(page: Page, tag: int, default: int, name: str) -> int:
    """The value of a tag that has one value for each sample."""
    values = sorted(set(page.values(tag)[:MOST_SAMPLES].tolist()))
    if len(values) > 1:
        found = " and ".join(map(str, values[:4]))
        raise ImageError(f"the TIFF's samples differ: {name} {found}", "samples that are all stored alike")
    return int(values[0]) if values else default


def _blocks(page: Page, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """The offsets and the lengths of the blocks in the file."""
    is_tiled, size = layout.is_tiled, len(page.content)
    name = "tiles" if is_tiled else "strips"
    blocks = layout.blocks_down * layout.blocks_across * (layout.samples if layout.is_planar else 1)
    if blocks > MOST_BLOCKS:
        raise ImageError(
            f"the TIFF, {layout.height}×{layout.width} pixels, has {blocks} {name}", f"at most {MOST_BLOCKS}"
        )
    # some writers put the places of tiles into the tags of strips
    offsets = page.values(tiff_tags.TILE_OFFSETS if tiff_tags.TILE_OFFSETS in page else tiff_tags.STRIP_OFFSETS)
    counts = page.values(tiff_tags.TILE_COUNTS if tiff_tags.TILE_COUNTS in page else tiff_tags.STRIP_COUNTS)
    if len(offsets) < blocks or offsets.dtype.kind != "u":
        raise ImageError(f"the TIFF is damaged: it lists {len(offsets)} {name}, and its size needs {blocks}")
    starts = offsets[:blocks].astype(np.uint64).clip(max=size).astype(np.int64)
    if layout.compression == UNCOMPRESSED:
        # some writers give wrong lengths, and readers know better; 0 stands for a block that isn't in the file
        lengths = np.minimum(layout.block_bytes, size - starts).clip(min=1)
        if len(counts) >= blocks:
            lengths[counts[:blocks] == 0] = 0
    elif len(counts) >= blocks and counts.dtype.kind == "u":
        lengths = counts[:blocks].astype(np.uint64).clip(max=size + 1).astype(np.int64)
    else:
        raise ImageError(f"the TIFF is damaged: it lists the lengths of {len(counts)} {name}, and needs {blocks}")
    if (starts + lengths > size).any():
        raise ImageError(f"the TIFF is damaged: some of its {name} lie beyond its end at byte {size}")
    if lengths.sum() > MOST_SHARED * size + LARGEST_TILE:
        raise ImageError(f"the TIFF is damaged: the same bytes belong to many of its {name}")
    return starts, lengths
