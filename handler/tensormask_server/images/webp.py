"""Drops what isn't pixels from a WebP before Pillow reads it. libwebp keeps a record of every chunk of a file.

Source: RFC 9649, section 2.
"""

import struct

from tensormask_server.images.errors import ImageError
from tensormask_server.images.exif import LARGEST_EXIF, exif_of, orientation_in

HEADER = 12  # bytes: RIFF, a length, WEBP
OF_PIXELS = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
MOST_CHUNKS = 100_000  # an animation has one for each frame


def only_pixels(webp: bytes) -> bytes:
    """Leaves out the profile, XMP and unknown chunks of a WebP without reading them. Of its EXIF the orientation stays.

    Args:
        webp: the file's bytes, which begin with RIFF. The file may be damaged, or be no WebP.

    Returns:
        A WebP with the same pixels and orientation. The chunks that hold pixels are as they were, with their damage.

    Raises:
        ImageError: the file has far more chunks than any writer makes.
    """
    if webp[8:HEADER] != b"WEBP":
        return webp
    view = memoryview(webp)
    end = min(len(webp), 8 + int.from_bytes(webp[4:8], "little"))
    kept: list[bytes | memoryview] = []
    exif: bytes | None = None
    position = HEADER
    for _ in range(MOST_CHUNKS):
        if position + 8 > end:
            break
        name, size = struct.unpack_from("<4sI", webp, position)
        chunk = view[position : min(end, position + 8 + size + size % 2)]
        if name in OF_PIXELS:
            kept.append(chunk)
        elif name == b"EXIF" and exif is None:
            exif = bytes(chunk[8 : 8 + LARGEST_EXIF])
        position += 8 + size + size % 2
    else:
        raise ImageError(f"the image is a WebP of more than {MOST_CHUNKS} chunks", "a WebP that an image editor wrote")
    if exif is not None:
        small = exif_of(orientation_in(exif))
        kept.append(struct.pack("<4sI", b"EXIF", len(small)) + small)
    content = b"".join(kept)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(content), b"WEBP") + content
