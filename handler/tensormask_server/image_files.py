"""Which files of a folder are taken for images, by the end of their names."""

READABLE = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# with what can't be read: such an image gets an error, instead of being left out unnoticed
SUFFIXES = (*READABLE, ".heic", ".heif", ".avif")
