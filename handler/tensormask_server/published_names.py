"""File names of published weights."""

import os
import re
from pathlib import Path


def digits_in_name(path: str | os.PathLike[str]) -> str:
    """The six hex digits at the end of a file's name, as detectron2's published files have them; "" for other names.

    They are the start of the file's SHA-256: model_final_e8df31.pkl.
    """
    digits = re.search(r"[_-]([0-9a-f]{6})$", Path(path).stem)
    return digits[1] if digits else ""
