"""Which page of a TIFF is the image, and whether the TIFF is a raw photograph."""

from collections.abc import Sequence

from tensormask_server.images import tiff_tags
from tensormask_server.images.errors import ImageError
from tensormask_server.images.tiff_tags import Page, pages

REDUCED = 1  # a bit of NewSubfileType
COLOUR_FILTER, LINEAR_RAW = 32803, 34892  # PhotometricInterpretation of a sensor's values
RAW_COMPRESSIONS = (32767, 32769, 32770, 34713, 65000, 65535)  # of Sony, Samsung, Nikon, Kodak and Pentax
MAKE = 271
RAW_MAKES = {  # by the start of the camera's maker: the suffix of its raw files
    "NIKON": "NEF",
    "SONY": "ARW",
    "CANON": "CR2",
    "PENTAX": "PEF",
    "RICOH": "PEF",
    "SAMSUNG": "SRW",
    "HASSELBLAD": "3FR",
    "PHASE ONE": "IIQ",
    "EPSON": "ERF",
    "KODAK": "DCR",
    "EASTMAN KODAK": "DCR",
    "MAMIYA": "MEF",
    "LEAF": "MOS",
    "OLYMPUS": "ORF",
    "PANASONIC": "RW2",
}
DEVELOPED = "the developed photograph: export it as JPEG, PNG or TIFF, or run darktable-cli photo.{suffix} photo.jpg"


def full_page(content: bytes) -> tuple[Page, tuple[str, ...]]:
    """Finds the first page that isn't a reduced copy of another one.

    Args:
        content: a TIFF or BigTIFF.

    Returns:
        The page, and notes for the response.

    Raises:
        ImageError: the file has no such page, is damaged, or is a raw photograph.
    """
    found = _readable_pages(content)
    _check_not_raw(found)
    for index, page in enumerate(found):
        if not page.number(tiff_tags.SUBFILE_TYPE, 0) & REDUCED:
            return page, (f"page {index + 1} of the TIFF was read, because those before it are reduced",) * (index > 0)
    size = f"{found[0].number(tiff_tags.LENGTH, 0)}x{found[0].number(tiff_tags.WIDTH, 0)} pixels"
    raise ImageError(
        f"the TIFF has only reduced images, such as thumbnails; the first has {size}", "a TIFF with the full image"
    )


def _readable_pages(content: bytes) -> list[Page]:
    """At least one page. Damage behind the first page costs only the pages behind it."""
    found: list[Page] = []
    try:
        for page in pages(content):
            found.append(page)
    except ImageError:
        if not found:
            raise
    if not found:
        raise ImageError("the TIFF has no page")
    return found


def _check_not_raw(found: Sequence[Page]) -> None:
    is_dng = any(tiff_tags.DNG_VERSION in page for page in found)
    if not is_dng and not any(_has_raw_values(page) for page in found):
        return
    make = found[0].text(MAKE).upper()
    of_make = next((suffix for start, suffix in RAW_MAKES.items() if make.startswith(start)), "")
    suffix = "DNG" if is_dng else of_make
    name = f" ({suffix})" if suffix else ""
    raise ImageError(
        f"the image is a raw photograph{name}; what could be read of it is at most a thumbnail",
        DEVELOPED.format(suffix=suffix.lower() or "raw"),
    )


def _has_raw_values(page: Page) -> bool:
    return (
        page.number(tiff_tags.PHOTOMETRIC, 0) in (COLOUR_FILTER, LINEAR_RAW)
        or page.number(tiff_tags.COMPRESSION, 1) in RAW_COMPRESSIONS
    )
