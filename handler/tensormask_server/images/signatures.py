"""The kinds of image files that are read, by their first bytes."""

# by Pillow's names
SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "WEBP": (b"RIFF",),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),  # the last two: BigTIFF
}
ALL_SIGNATURES = tuple(start for starts in SIGNATURES.values() for start in starts)
AVIF_BRANDS = ("avif", "avis")
HEIC_BRANDS = ("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs")
HEIF_BRANDS = (*AVIF_BRANDS, *HEIC_BRANDS, "mif1", "msf1")
LONGEST_BRANDS = 400  # bytes


def is_image(content: bytes | bytearray) -> bool:
    """Whether a file starts as one of the kinds that are read."""
    return content.startswith(ALL_SIGNATURES) or is_heif(content)


def is_heif(content: bytes | bytearray) -> bool:
    """Whether a file declares to be AVIF, HEIC or another image in HEIF."""
    return any(brand in HEIF_BRANDS for brand in brands(content))


def is_tiff(content: bytes) -> bool:
    """Whether a file starts as a TIFF or a BigTIFF does."""
    return content.startswith(SIGNATURES["TIFF"])


def brands(content: bytes | bytearray) -> tuple[str, ...]:
    """What a file of the family of MP4 and HEIF declares to be, the most important first; () for other files."""
    if content[4:8] != b"ftyp":
        return ()
    end = min(int.from_bytes(content[:4], "big"), len(content), LONGEST_BRANDS)
    codes = [content[8:12], *(content[start : start + 4] for start in range(16, end - 3, 4))]
    return tuple(code.decode("latin-1") for code in codes)
