"""Bytes that tell how many of them were missing when a reader came to their end."""

from io import BytesIO


class CutShort(ValueError):
    """A file ends before its content does."""

    def __init__(self, least: int):
        """
        Args:
            least: how many bytes the whole file has at least.
        """
        super().__init__(f"expected at least {least} bytes")
        self.least = least


class MeasuredBytes(BytesIO):
    """Bytes to read, which know how many of them a reader wanted."""

    def __init__(self, content: bytes):
        super().__init__(content)
        self.wanted = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size >= 0:
            self.wanted = max(self.wanted, self.tell() + size)
        return super().read(size)

    def check_whole(self) -> None:
        """Checks that no reader came to the end too early.

        Raises:
            CutShort: a reader wanted more bytes than there are.
        """
        if self.wanted > len(self.getbuffer()):
            raise CutShort(self.wanted)
