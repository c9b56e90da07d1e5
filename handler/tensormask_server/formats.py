"""The formats of a response: one row for each. `responses.encoding` has the encoder of each row."""

from dataclasses import dataclass

JSON = "application/json"
MODEL_DESCRIPTION = "application/vnd.tensormask.model+json"  # of a GET that asks a worker about its model


@dataclass(frozen=True)
class Format:
    """One format of a response."""

    name: str  # the value of the option `format`
    media_type: str  # of the header Content-Type; Accept requests the first format of a media type
    suffix: str  # of a file that holds such a response
    needs_masks: bool = False  # networks with MASK_ON False can't give these
    is_full_size: bool = False  # it has arrays of the image's size; `polygons` has one only with the option image_data

    @property
    def is_json(self) -> bool:
        """Whether it fits into a response about several images, which is JSON."""
        return self.media_type == JSON


# by name
FORMATS = {
    each.name: each
    for each in (
        Format("coco", JSON, ".json"),
        Format("png", "image/png", ".png", is_full_size=True),
        Format("labelmap", "image/png", ".png", needs_masks=True, is_full_size=True),
        Format("polygons", JSON, ".json", needs_masks=True),
        Format("csv", "text/csv", ".csv"),
        Format("npz", "application/zip", ".npz", is_full_size=True),
        Format("cutouts", "application/zip", ".zip", needs_masks=True),
        Format("torch", "application/gzip", ".gz", is_full_size=True),
    )
}

# what users call these formats; for error messages
OTHER_NAMES = {"labelme": "polygons", "json": "coco", "rle": "coco", "zip": "cutouts"}


def format_of_media_type(media_type: str) -> Format | None:
    """The first format of a media type, which is in lower case. None: no format has it."""
    return next((each for each in FORMATS.values() if each.media_type == media_type), None)


def listed(formats: list[Format]) -> str:
    """Their names for an error message: "coco, png or npz"."""
    *others, last = [each.name for each in formats]
    return f"{', '.join(others)} or {last}" if others else last
