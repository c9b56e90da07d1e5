"""What the samples of a TIFF's page mean: grey, colours or transparency. Kinds that aren't read are refused by name."""

from dataclasses import dataclass

from tensormask_server.images.errors import ImageError
from tensormask_server.images.tiff_blocks import BYTE_COMPRESSIONS
from tensormask_server.images.tiff_layout import Layout

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
PREMULTIPLIED, ALPHA = 1, 2  # ExtraSamples
COREL_ALPHA = 999  # of Corel Draw
JPEG = 7
# that Pillow reads beside BYTE_COMPRESSIONS: of faxes, JPEG, and old ones
PILLOWS_COMPRESSIONS = (*BYTE_COMPRESSIONS, 2, 3, 4, JPEG, 32771, 32809)
NAMES = {
    6: "old-style JPEG",
    9: "JBIG",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34712: "JPEG 2000",
    34887: "LERC",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
KINDS = {"u": "unsigned integers", "i": "signed integers", "f": "floating-point numbers", "c": "complex numbers"}


@dataclass(frozen=True)
class Meaning:
    """What the samples of a page are."""

    photometric: int  # as the samples are read; it can differ from what the page says
    colours: int  # the first samples of each pixel: 1, 3 or 4
    alpha: int | None  # the number of the sample that says how opaque a pixel is
    is_premultiplied: bool  # the colours are multiplied by alpha
    is_pillows: bool  # Pillow reads the page right as a whole; else its samples are read by `tiff_blocks.read_samples`
    notes: tuple[str, ...]  # for the response


def meaning_of(layout: Layout) -> Meaning:
    """Says what the samples of a page mean.

    Raises:
        ImageError: they can't be read as an image. The message has the cause and what to do.
    """
    _check_stored(layout)
    photometric, colours, notes = _colours(layout)
    others = layout.extra_samples[max(0, len(layout.extra_samples) - (layout.samples - colours)) :]
    if not others and photometric == RGB and layout.samples == 4:
        others = (ALPHA,)  # as Pillow and libtiff
    alpha = next((i for i, each in enumerate(others) if each in (PREMULTIPLIED, ALPHA, COREL_ALPHA)), None)
    is_premultiplied = alpha is not None and others[alpha] == PREMULTIPLIED
    is_pillows = _is_pillows(layout, photometric)
    if not is_pillows:
        _check_samples(layout, photometric)
    return Meaning(
        photometric, colours, None if alpha is None else colours + alpha, is_premultiplied, is_pillows, notes
    )


def _colours(layout: Layout) -> tuple[int, int, tuple[str, ...]]:
    """How the samples are read, how many of them are colours, and notes."""
    photometric, samples = layout.photometric, layout.samples
    bands = samples - sum(each in (PREMULTIPLIED, ALPHA, COREL_ALPHA) for each in layout.extra_samples)
    if photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        if bands == 1:
            return photometric, 1, ()
        if bands == 3 and photometric == BLACK_IS_ZERO:
            return RGB, 3, ("the TIFF's three grey bands were read as red, green and blue",)
        command = "-b 1" if bands == 2 else "-b 1 -b 2 -b 3 -co PHOTOMETRIC=RGB"
        choice = "the band to use" if bands == 2 else "the three bands to use as red, green and blue"
        raise ImageError(
            f"the TIFF has {samples} bands, and doesn't say which are colours",
            f"{choice}, for example gdal_translate {command} in.tif out.tif",
        )
    needed = {RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 1 if samples == 1 else 3, LAB: 3}.get(photometric)
    if needed is None:
        raise ImageError(
            f"the TIFF's colours are of kind {photometric} (PhotometricInterpretation)",
            "grey, RGB, a palette, CMYK, YCbCr or CIELab: save it as RGB, for example as a PNG",
        )
    if samples < needed:
        raise ImageError(f"the TIFF is damaged: {samples} samples a pixel, and its colours need {needed}")
    return photometric, needed, ()


def _check_stored(layout: Layout) -> None:
    if layout.compression not in PILLOWS_COMPRESSIONS:
        name = NAMES.get(layout.compression, f"number {layout.compression}")
        raise ImageError(
            f"the TIFF is compressed as {name}, which isn't supported",
            "another compression: gdal_translate -co COMPRESS=DEFLATE in.tif out.tif",
        )
    if layout.kind == "c":
        command = "gdal_translate -ot Float32 in.tif out.tif, and then the option stretch"
        raise ImageError("the TIFF's values are complex numbers", f"real numbers: {command}")
    if layout.kind in "ui" and layout.bits == 64:
        command = "gdal_translate -ot Float32 in.tif out.tif, and then the option stretch"
        raise ImageError("the TIFF's values are integers of 64 bits", f"at most 32 bits: {command}")


def _is_pillows(layout: Layout, photometric: int) -> bool:
    """Whether Pillow reads the page right."""
    if layout.is_planar or layout.kind != "u" or (layout.counts == 0).any():
        return False
    samples, bits = layout.samples, layout.bits
    if photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        return samples == 1 and (bits in (1, 2, 4, 8) or (bits, photometric) == (12, BLACK_IS_ZERO))
    if photometric == RGB:
        return bits == 8 and (samples == 3 or (samples <= 6 and layout.photometric == RGB))
    if photometric == PALETTE:
        return bits in (1, 2, 4, 8) and samples == 1
    if photometric == CMYK:
        return bits in (8, 16) and samples == 4
    return bits == 8 and samples in (1, 3)  # YCbCr, CIELab


def _check_samples(layout: Layout, photometric: int) -> None:
    """Checks that `tiff_blocks` can read the samples, since Pillow can't."""
    bits = layout.bits
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        raise ImageError(
            f"the TIFF has {layout.samples} samples of {bits} bits a pixel, "
            f"and its colours (PhotometricInterpretation {photometric}) are read only with 8 bits and not in planes",
            "RGB: gdal_translate -expand rgb in.tif out.tif for a palette, or save it as a PNG",
        )
    widths = (16, 32, 64) if layout.kind == "f" else (8, 16, 32)
    if bits not in widths:
        raise ImageError(
            f"the TIFF's values have {bits} bits ({KINDS[layout.kind]})",
            "8 or 16 bits: gdal_translate -ot UInt16 -co NBITS=16 in.tif out.tif",
        )
    if layout.compression not in BYTE_COMPRESSIONS and not (layout.is_planar and bits == 8):
        raise ImageError(
            f"the TIFF has {layout.samples} samples of {bits} bits a pixel in a compression that is read only for grey "
            "and RGB of 8 bits",
            "another compression: gdal_translate -co COMPRESS=DEFLATE in.tif out.tif",
        )
