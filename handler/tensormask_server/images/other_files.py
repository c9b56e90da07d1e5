"""Files that people send and that aren't read: their names by their first bytes, and what to do with them."""

import re
from dataclasses import dataclass

LONGEST_HEAD = 16_000  # bytes that are searched
FRAME = "one of its frames: ffmpeg -i video.mp4 -frames:v 1 image.png"
DEVELOPED = "the developed photograph: export it as JPEG or PNG, or run darktable-cli photo.{} photo.jpg"
MICROSCOPE = "its planes as TIFF: bfconvert image.{} image.tif, of Bio-Formats"
SCIENCE = "one plane of its values as TIFF or PNG; the option stretch chooses the range of values"
MAGICK = "a JPEG or PNG: magick 'image.{}[0]' image.png"
UNPACKED = "one image of it"

# Atomic groups, (?>…), so that no file makes the search slow
BEFORE_XML = rb"(\xef\xbb\xbf)?\s*"  # a byte order mark
COMMENTS = rb"(?>(?><\?.*?\?>|<!--.*?-->)\s*)*+"  # and declarations
SVG = (
    BEFORE_XML
    + COMMENTS
    + rb"(?><!DOCTYPE\s+([\w.-]+:)?svg\b[^\[>]*+(?>\[.*?\]\s*)?+>\s*)?+"
    + COMMENTS
    + rb"<([\w.-]+:)?svg\b"
)
HTML = BEFORE_XML + COMMENTS + rb"<(?i:!doctype\s+html|html|head|body)\b"


@dataclass(frozen=True)
class OtherFile:
    """A kind of file that isn't read."""

    name: str  # with an article where it needs one: "SVG", "a video"
    start: re.Pattern[bytes]
    expected: str  # what would be accepted, and how to get it


def _other(name: str, start: bytes, expected: str) -> OtherFile:
    return OtherFile(name, re.compile(start, re.DOTALL), expected)


def _raw(suffix: str, start: bytes) -> OtherFile:
    return _other(f"a raw photograph ({suffix})", start, DEVELOPED.format(suffix.lower()))


OTHER_FILES = (
    _raw("CR3", rb"....ftypcrx "),
    _raw("RAF", rb"FUJIFILMCCD-RAW"),
    _raw("ORF", rb"IIRO|IIRS|MMOR"),
    _raw("RW2", rb"IIU\0"),
    _raw("CRW", rb"II....HEAPCCDR"),
    _raw("X3F", rb"FOVb"),
    _raw("MRW", rb"\0MRM"),
    _other(
        "a video",
        rb"....(ftyp(?!avi[fs]|hei|hev|mif1|msf1)|moov|mdat)|RIFF....AVI |\x1aE\xdf\xa3|FLV\x01|\0\0\x01[\xb3\xba]",
        FRAME,
    ),
    _other("a sound", rb"RIFF....WAVE|OggS|ID3|fLaC", "an image"),
    _other("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG or PNG: djxl image.jxl image.png"),
    _other(
        "JPEG 2000",
        rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
        "a JPEG or PNG: opj_decompress -i image.jp2 -o image.png",
    ),
    _other("JPEG XR", rb"II\xbc", "a JPEG or PNG: JxrDecApp -i image.jxr -o image.bmp"),
    _other("SVG", SVG, "its pixels as PNG: rsvg-convert image.svg -o image.png"),
    _other("an HTML page", HTML, "the image itself; the address of this file leads to a page about it"),
    _other("PDF", rb"%PDF-", "one of its pages as PNG: pdftoppm -png -r 150 -singlefile file.pdf image"),
    _other(
        "PostScript",
        rb"%!PS|\xc5\xd0\xd3\xc6",
        "its pixels as PNG: gs -sDEVICE=png16m -r150 -dEPSCrop -o image.png image.eps",
    ),
    _other("PSD, of Photoshop", rb"8BPS", MAGICK.format("psd")),
    _other("XCF, of GIMP", rb"gimp xcf", "a JPEG or PNG: export it in GIMP"),
    _other("an icon (ICO)", rb"\0\0[\x01\x02]\0[^\0]\0.....\0", MAGICK.format("ico")),
    _other("an icon (ICNS)", rb"icns", MAGICK.format("icns")),
    _other("a Targa image (TGA)", rb".\0[\x02\x03\x0a\x0b]\0\0\0\0\0", MAGICK.format("tga")),
    _other("DirectDraw (DDS)", rb"DDS ", MAGICK.format("dds")),
    _other("a Netpbm image", rb"P[1-7]\s", "a JPEG or PNG: magick image.ppm image.png"),
    _other("QOI", rb"qoif", MAGICK.format("qoi")),
    _other(
        "DICOM", rb".{128}DICM", "its pixels as PNG or TIFF: export them in a viewer, or dcmj2pnm +on scan.dcm scan.png"
    ),
    _other("OpenEXR", rb"v/1\x01", "8 or 16 bits a channel: magick image.exr image.png"),
    _other("Radiance HDR", rb"#\?(RADIANCE|RGBE)", "8 or 16 bits a channel: magick image.hdr image.png"),
    _other(
        "npy, an array of NumPy",
        rb"\x93NUMPY",
        "an image file: PIL.Image.fromarray(numpy.load('image.npy')).save('image.png')",
    ),
    _other("FITS", rb"SIMPLE  =", SCIENCE),
    _other("NIfTI", rb"\x5c\x01\0\0.{340}n[i+]1\0|\0\0\x01\x5c.{340}n[i+]1\0|....n[i+]2\0", SCIENCE),
    _other("HDF5", rb"(.{512})?\x89HDF\r\n\x1a\n", SCIENCE),
    _other("NetCDF", rb"CDF[\x01\x02\x05]", SCIENCE),
    _other("a MATLAB file", rb"MATLAB 5\.0 MAT-file", SCIENCE),
    _other("ERDAS Imagine", rb"EHFA_HEADER_TAG", "a GeoTIFF: gdal_translate image.img image.tif"),
    _other("MrSID", rb"msid", "a GeoTIFF: gdal_translate image.sid image.tif"),
    _other("NITF", rb"NITF|NSIF", "a GeoTIFF: gdal_translate image.ntf image.tif"),
    _other("CZI, of Zeiss", rb"ZISRAWFILE", MICROSCOPE.format("czi")),
    _other("ND2, of Nikon", rb"\xda\xce\xbe\x0a", MICROSCOPE.format("nd2")),
    _other("LIF, of Leica", rb"\x70\0\0\0.{4}\x2a", MICROSCOPE.format("lif")),
    _other("an OLE file, such as OIB, ZVI or DOC", rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", MICROSCOPE.format("oib")),
    _other("a Git LFS pointer", rb"version https://git-lfs", "the file that it stands for: git lfs pull"),
    _other("a zip archive", rb"PK\x03\x04", UNPACKED),
    _other("an archive (7z, RAR, xz, bzip2 or zstd)", rb"7z\xbc\xaf|Rar!|\xfd7zXZ|BZh[1-9]|\(\xb5/\xfd", UNPACKED),
)


def other_file(content: bytes) -> OtherFile | None:
    """The kind of a file that isn't read; None if the kind is unknown.

    Args:
        content: the file's bytes.
    """
    head = content[:LONGEST_HEAD]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # a byte order mark of UTF-16
        head = head[: len(head) & ~1].decode("utf-16", errors="replace").encode()
    return next((other for other in OTHER_FILES if other.start.match(head)), None)
