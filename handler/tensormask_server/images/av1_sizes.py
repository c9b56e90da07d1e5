"""The sizes of the frames in coded AV1, which a decoder takes memory for, whatever the file around them declares.

Source: the AV1 Bitstream & Decoding Process Specification, sections 5.3 and 5.5.
"""

from dataclasses import dataclass

SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6  # types of open bitstream units
LONGEST_HEADER = 1000  # bytes of a sequence header; usually 10 to 20


@dataclass(frozen=True)
class CodedFrames:
    """What decoding takes at most."""

    pixels: int  # of the largest frame that the sequence headers allow
    frames: int
    units: int  # open bitstream units


def coded_frames(content: bytes, most_units: int) -> CodedFrames:
    """Reads the sizes that a coded image declares. Nothing is decoded.

    Args:
        content: the open bitstream units of one image, as AVIF stores them.
        most_units: how many there may be.

    Raises:
        ValueError: they are damaged, or too many.
    """
    pixels, frames, units, position = 0, 0, 0, 0
    while position < len(content):
        units += 1
        if units > most_units:
            raise ValueError("the coded image has far more units than any encoder makes")
        header = content[position]
        position += 2 if header & 4 else 1  # with an extension
        size = len(content) - position
        if header & 2:
            size, position = _leb128(content, position)
        if size < 0 or position + size > len(content):
            raise ValueError("a unit of the coded image leads out of the file")
        kind = header >> 3 & 15
        if kind == SEQUENCE_HEADER:
            pixels = max(pixels, _largest_frame(content[position : position + min(size, LONGEST_HEADER)]))
        frames += kind in (FRAME_HEADER, FRAME)
        position += size
    return CodedFrames(pixels, frames, units)


def _leb128(content: bytes, position: int) -> tuple[int, int]:
    """A number of up to 8 bytes of 7 bits, and the position behind it."""
    value = 0
    for index, byte in enumerate(content[position : position + 8]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, position + index + 1
    raise ValueError("a number of the coded image has no end")


class _Bits:
    def __init__(self, content: bytes):
        self._value = int.from_bytes(content, "big")
        self._left = 8 * len(content)

    def read(self, bits: int) -> int:
        self._left -= bits
        if self._left < 0:
            raise ValueError("a header of the coded image is cut short")
        return self._value >> self._left & (1 << bits) - 1


def _largest_frame(header: bytes) -> int:
    """The pixels of the largest frame that a sequence header allows."""
    bits = _Bits(header)
    bits.read(3 + 1)  # profile, still picture
    is_reduced = bits.read(1) == 1
    if is_reduced:
        bits.read(5)  # level
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    # a frame of a sequence can have any size of as many bits
    return width * height if is_reduced else 1 << width_bits + height_bits


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.read(1):  # timing
        bits.read(32 + 32)
        if bits.read(1):  # all pictures last equally long: a number of ticks in Exp-Golomb code
            zeros = 0
            while zeros < 32 and not bits.read(1):
                zeros += 1
            bits.read(zeros if zeros < 32 else 0)
        if bits.read(1):  # decoder model
            delay_bits = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    has_display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:  # level
            bits.read(1)  # tier
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)
