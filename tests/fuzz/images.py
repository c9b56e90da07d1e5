"""Image files, whole and damaged, and files that ask for far more than they have bytes."""

import io
import itertools
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tests.png_chunks import START, chunk, png

STORED = Path(__file__).parents[1] / "unit" / "images" / "files"  # what only heavy packages write
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


@cache
def whole_files() -> tuple[bytes, ...]:
    """Files of every format that the server reads, in its modes and compressions, and with other data in them."""
    random = np.random.default_rng(0)
    rgb = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
    frames = [Image.new("RGB", (16, 12), (40 * number, 0, 99)) for number in range(4)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "text"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    animation = {"save_all": True, "append_images": frames, "duration": 10, "loop": 0}
    values = random.integers(0, 1 << 16, (12, 16, 4), np.uint16)
    progressive = _saved(rgb, "JPEG", progressive=True)
    made = [
        *(whole[:-cut] for whole in (_saved(rgb, "JPEG"), progressive) for cut in (2, 20)),
        *(_saved(rgb, "JPEG", progressive=each, exif=exif) for each in (False, True)),
        _saved(rgb.convert("CMYK"), "JPEG"),
        _saved(rgb.convert("L"), "JPEG", icc_profile=profile),
        *(_saved(rgb.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        _saved(
            Image.fromarray(random.integers(0, 1 << 16, (12, 16), np.uint16)), "PNG", exif=exif, icc_profile=profile
        ),
        _saved(rgb, "PNG", **animation),
        *(png(values[..., :channels] >> shift) for channels in (1, 2, 3, 4) for shift in (0, 4)),
        png(values[..., :3], chunk(b"tRNS", bytes(6)), chunk(b"eXIf", exif.tobytes()[6:])),
        png(values[..., :1] >> 4, chunk(b"tRNS", bytes(2)), chunk(b"tEXt", b"Comment\0text", crc=1)),
        _saved(rgb.convert("P"), "GIF", transparency=3),
        _saved(frames[0], "GIF", **animation),
        *(_saved(rgb, "WEBP", lossless=lossless, exif=exif) for lossless in (False, True)),
        _saved(rgb.convert("RGBA"), "WEBP", **animation),
        *(_saved(rgb.convert(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")),
        *(
            _saved(rgb, "TIFF", compression=name)
            for name in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits", "tiff_adobe_deflate")
        ),
        _saved(rgb.convert("L").convert("I"), "TIFF"),
        *(_saved(rgb.convert("1"), "TIFF", compression=name) for name in ("group3", "group4", "tiff_ccitt")),
        *(_saved(rgb.convert(mode), "TIFF", exif=exif) for mode in ("F", "P", "CMYK")),
        _saved(frames[0], "TIFF", **animation),
        tiff_of_one_tile(16, 16, zlib.compress(bytes(256))),
        *_tiffs_of_science(values),
        *(_saved(rgb.convert(mode), "AVIF", exif=exif) for mode in ("L", "RGB", "RGBA")),
        _saved(rgb, "AVIF", **animation),
        *(path.read_bytes() for path in sorted(STORED.glob("*")) if path.suffix in (".heic", ".tif")),
    ]
    return tuple(made)


def _tiffs_of_science(values: np.ndarray) -> list[bytes]:
    """BigTIFFs and planes, of every type of values, in strips and tiles."""
    made = []
    for dtype, planes, is_big, is_tiled in itertools.product(("u1", "u2", "i4", "f4"), *3 * [(False, True)]):
        image = values[..., :3].astype(dtype)
        file = io.BytesIO()
        tifffile.imwrite(
            file,
            np.moveaxis(image, -1, 0) if planes else image,
            photometric="rgb" if is_tiled else "minisblack",
            planarconfig="separate" if planes else "contig",
            bigtiff=is_big,
            compression="zlib" if is_tiled else None,
            tile=(16, 16) if is_tiled else None,
            metadata=None,
        )
        made.append(file.getvalue())
    return made


@st.composite
def damaged(draw: st.DrawFn, files: st.SearchStrategy[bytes]) -> bytes:
    """A file with up to 8 changes: cut, bytes changed, doubled, left out, or made extreme."""
    content = bytearray(draw(files))
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 64)))
        change = draw(st.sampled_from(["cut", "bytes", "double", "leave out", "another", "flip", "extreme"]))
        if change == "cut":
            del content[start:]
        elif change == "bytes":
            content[start:end] = draw(st.binary(max_size=16))
        elif change == "double":
            content[start:start] = content[start:end]
        elif change == "leave out":
            del content[start:end]
        elif change == "another":
            content[start:] = draw(files)[start:]
        elif change == "flip" and start < len(content):
            content[start] ^= 1 << draw(st.integers(0, 7))
        elif change == "extreme":
            size, order = draw(st.sampled_from([(1, "big"), (2, "big"), (2, "little"), (4, "big"), (4, "little")]))
            value = draw(st.sampled_from(EXTREMES)) & (256**size - 1)
            content[start : start + size] = value.to_bytes(size, order)
    return bytes(content)


def files() -> st.SearchStrategy[bytes]:
    return st.sampled_from(whole_files())


# --- what asks for far more than it has bytes -------------------------------------------------------------------------


def png_bomb(side: int, size: int = 100_000) -> bytes:
    """Black, with as much compressed data as `size` bytes hold."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return START + chunk(b"IHDR", header) + chunk(b"IDAT", _zeros(size * 1000)) + chunk(b"IEND", b"")


def png_of_many_chunks(name: bytes, chunks: int) -> bytes:
    """One pixel, and empty chunks before its own."""
    return png(np.zeros((1, 1, 1), np.uint8), chunk(name, b"") * chunks)


def png_of_compressed_parts() -> bytes:
    """One pixel, and parts that aren't pixels of 100 MB each, compressed."""
    parts = {b"iCCP": b"profile\0\0", b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0\0\0"}
    bombs = [chunk(name, start + _zeros(100_000_000)) for name, start in parts.items()]
    return png(np.zeros((1, 1, 1), np.uint8), *bombs)


def tiff_bomb(side: int) -> bytes:
    """One strip, black."""
    return _tiff({256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 278: side}, 273, 279)


def tiff_of_one_tile(side: int, tile_side: int, tile: bytes | None = None) -> bytes:
    """A grey image in one compressed tile."""
    return _tiff({256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile_side, 323: tile_side}, 324, 325, tile)


def tiff_of_shared_bytes() -> bytes:
    """16,384 strips of one row, and each has all bytes of the file."""
    side = 16_384
    data = _zeros(1_000_000)
    content = _tiff({256: 8, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 278: 1}, 273, 279, data)
    offsets, counts = struct.pack("<I", 8) * side, struct.pack("<I", len(data)) * side
    for tag, array in ((273, offsets), (279, counts)):
        entry = content.index(struct.pack("<HHI", tag, 4, 1), 8 + len(data))
        content = content[: entry + 4] + struct.pack("<II", side, len(content)) + content[entry + 12 :] + array
    return content


def tiff_of_many_pages(pages: int, tags: int) -> bytes:
    """Pages of reduced images that share their tags."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, 1) for tag in (254, *range(60_000, 60_000 + tags - 1)))
    size = 2 + len(entries) + 4
    starts = [8 + number * size for number in range(pages)]
    return b"II*\0\x08\0\0\0" + b"".join(
        struct.pack("<H", tags) + entries + struct.pack("<I", start + size if start != starts[-1] else 0)
        for start in starts
    )


def avif_bomb() -> bytes:
    """One that says it is small, and is coded with 8192 pixels a side."""
    large = (STORED / "large.avif").read_bytes()
    return large.replace(struct.pack(">II", 8192, 8192), struct.pack(">II", 64, 64))


def webp_bomb() -> bytes:
    """The largest WebP, of one colour: 34 bytes."""
    small = bytearray(_saved(Image.new("RGB", (16, 16)), "WEBP", lossless=True))
    sides = 0x3FFF - 1  # 14 bits each, less one
    bits = int.from_bytes(small[21:25], "little") & ~0xFFFFFFF | sides | sides << 14
    small[21:25] = bits.to_bytes(4, "little")
    return bytes(small)


def gif_bomb() -> bytes:
    small = bytearray(_saved(Image.new("L", (16, 16)), "GIF"))
    frame = small.index(b",")
    small[6:10] = small[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    return bytes(small)


def gif_of_many_frames(frames: int) -> bytes:
    """Each as large as the first."""
    whole = _saved(Image.new("L", (512, 512)), "GIF")
    frame = whole[whole.index(b",") : -1]
    return whole[:-1] + frame * frames + whole[-1:]


def jpeg_bomb() -> bytes:
    small = bytearray(_saved(Image.new("L", (16, 16)), "JPEG"))
    frame = small.index(b"\xff\xc0")
    small[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    return bytes(small)


def jpeg_of_many_scans(scans: int) -> bytes:
    whole = _saved(Image.new("L", (2048, 2048), 128), "JPEG", progressive=True)
    return whole[:-2] + whole[whole.rindex(b"\xff\xda") : -2] * scans + whole[-2:]


def jpeg_of_many_segments(segments: int) -> bytes:
    """Comments before the image."""
    whole = _saved(Image.new("L", (16, 16)), "JPEG")
    return whole[:2] + b"\xff\xfe\0\2" * segments + whole[2:]


def jpeg_of_many_exifs(segments: int, size: int) -> bytes:
    """Segments of EXIF of `size` bytes each, which a reader may join."""
    whole = _saved(Image.new("RGB", (16, 16)), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 2 + size) + b"Exif\0\0" + bytes(size - 6)
    return whole[:2] + segment * segments + whole[2:]


def jpeg_of_padding(size: int) -> bytes:
    """Half of it before the first scan, and half before the second one."""
    whole = _saved(Image.new("L", (16, 16)), "JPEG", progressive=True)
    first = whole.index(b"\xff\xda")
    second = whole.index(b"\xff\xda", first + 2)
    padding = b"\xff" * (size // 2)
    return whole[:first] + padding + whole[first:second] + padding + whole[second:]


def jpeg_of_many_tables(tables: int) -> bytes:
    """Tables of quantisation, 1000 in each segment."""
    whole = _saved(Image.new("L", (16, 16)), "JPEG")
    segment = b"\xff\xdb" + struct.pack(">H", 2 + 65 * 1000) + (b"\0" + b"\1" * 64) * 1000
    return whole[:2] + segment * (tables // 1000) + whole[2:]


def exif_of_rationals(number: int) -> bytes:
    """An orientation that is so many fractions."""
    header = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 5, number, 26, 0)
    return header + struct.pack("<II", 0x7FFFFFFF, 0x7FFFFFED) * number


def webp_of_rationals(number: int) -> bytes:
    return _saved(Image.new("RGB", (8, 8)), "WEBP", lossless=True, exif=exif_of_rationals(number))


def avif_of_rationals(number: int) -> bytes:
    """Its EXIF is in a box at the file's end, where the list of items finds it."""
    small = Image.Exif()
    small[0x010E] = "text"
    whole = _saved(Image.new("RGB", (8, 8)), "AVIF", exif=small)
    item = b"\0\0\0\6" + small.tobytes()  # with the length of EXIF's prefix
    place = struct.pack(">II", whole.index(item), len(item))
    assert whole.count(place) == 1
    large = item[:4] + exif_of_rationals(number)
    whole = whole.replace(place, struct.pack(">II", len(whole) + 8, len(large)))
    return whole + struct.pack(">I4s", 8 + len(large), b"free") + large


def webp_of_many_chunks(chunks: int) -> bytes:
    """Unknown ones, behind the image."""
    whole = webp_of_rationals(1) + b"abcd\0\0\0\0" * chunks
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def gif_of_comment(parts: int) -> bytes:
    """A comment in parts of two bytes, before the image."""
    whole = _saved(Image.new("L", (16, 16)), "GIF")
    frame = whole.index(b",")
    return whole[:frame] + b"!\xfe" + b"\2ab" * parts + b"\0" + whole[frame:]


def tiff_of_many_depths(depths: int) -> bytes:
    """A grey image that says of each of many samples how many bits it has."""
    content = _tiff({256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 278: 16}, 273, 279, zlib.compress(bytes(256)))
    entry = struct.pack("<HHII", 258, 4, 1, 8)
    return content.replace(entry, struct.pack("<HHII", 258, 3, depths, len(content))) + b"\x08\0" * depths


def bmp_of_empty_rows(rows: int) -> bytes:
    """Run lengths that have only ends of rows, and no pixels."""
    palette = bytes(range(256)) * 4
    header = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(header + palette)) + header + palette + bytes(2 * rows)


def bmp_bomb() -> bytes:
    small = bytearray(_saved(Image.new("RGB", (16, 16)), "BMP"))
    small[18:26] = struct.pack("<ii", 0x7FFFFFFF, -0x7FFFFFFF)
    return bytes(small)


@cache
def _zeros(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def _tiff(tags: dict[int, int], offset_tag: int, length_tag: int, data: bytes | None = None) -> bytes:
    content = _zeros(100_000_000) if data is None else data
    tags = dict(sorted({**tags, offset_tag: 8, length_tag: len(content)}.items()))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = struct.pack("<I", 8 + len(content))
    return b"II*\0" + start + content + struct.pack("<H", len(tags)) + entries + bytes(4)


def _saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()
