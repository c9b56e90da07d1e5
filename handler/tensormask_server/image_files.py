"""The suffixes of the files in a folder that are taken for images."""

READABLE = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# these include formats that can't be read, so that such an image gets an error and isn't left out silently
SUFFIXES = (*READABLE, ".heic", ".heif", ".avif")
