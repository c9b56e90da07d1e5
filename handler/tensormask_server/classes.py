"""The names of a network's classes."""

from collections.abc import Sequence
from pathlib import Path

from tensormask_server.printable import printable
from tensormask_server.regular_files import read_text

# COCO's 80 classes, in the order of the published weights
# fmt: off
COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
# COCO's category ids are 1 … 90 without these
COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = dict(zip(COCO_CLASSES, (i for i in range(1, 91) if i not in COCO_GAPS), strict=True))


def category_ids(names: Sequence[str]) -> tuple[int, ...]:
    """Finds the category ids for COCO's results format.

    Args:
        names: of the network's classes.

    Returns:
        COCO's own ids if every name is one of COCO's, otherwise 1, 2, 3, …
    """
    if all(name in COCO_IDS for name in names):
        return tuple(COCO_IDS[name] for name in names)
    return tuple(range(1, len(names) + 1))


def unnamed_classes(num_classes: int, path: Path | None) -> str:
    """The note for whoever gives no class names to a network whose classes aren't COCO's.

    Args:
        num_classes: of the network.
        path: of the file with the class names, if there is one.

    Returns:
        One line; "" if the classes have names.
    """
    if path is not None or num_classes == len(COCO_CLASSES):
        return ""
    called = "class 0" if num_classes == 1 else f"class 0 to class {num_classes - 1}"
    return f"the network's classes have no names, and are called {called}; --classes FILE names them, one a line"


class ClassNamesError(ValueError):
    """A file of class names can't be read, or doesn't fit the network."""


def class_names(num_classes: int, path: Path | None) -> tuple[str, ...]:
    """Reads or makes the names of a network's classes.

    Args:
        num_classes: of the network.
        path: a text file with one name on each line. None: COCO's names for 80 classes, otherwise "class 0", …

    Returns:
        `num_classes` names.

    Raises:
        ClassNamesError: the file can't be read, or doesn't hold num_classes names.
    """
    if path is None:
        if num_classes == len(COCO_CLASSES):
            return COCO_CLASSES
        return tuple(f"class {i}" for i in range(num_classes))
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text in UTF-8"
        raise ClassNamesError(
            f"can't read the class names {printable(path)}: {reason}; expected a text file with one name on each line"
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) != num_classes:
        raise ClassNamesError(
            f"{printable(path)} holds {len(names)} class names; expected {num_classes}, one a line, as NUM_CLASSES says"
        )
    return names
