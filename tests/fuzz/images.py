"""Image files, whole and damaged, and files that ask for far more than they have bytes."""

import io
import struct
import zlib
from functools import cache

import numpy as np
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tests.png_chunks import START, chunk, png

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
    ]
    return tuple(made)


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
