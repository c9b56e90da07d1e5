"""Which files of a folder are taken for images, by their names."""

READABLE = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".btf", ".tf8")
# these include what only some servers read, so that such an image gets an error and isn't left out silently
SUFFIXES = (*READABLE, ".heic", ".heif", ".hif")


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image.

    Args:
        name: without its folders. macOS keeps attributes of photo.jpg in ._photo.jpg, which isn't an image.
    """
    return name.lower().endswith(SUFFIXES) and not name.startswith("._")
