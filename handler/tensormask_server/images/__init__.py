"""Image files to RGB pixels: kinds by content, limits before decoding, orientation, transparency and depth."""
