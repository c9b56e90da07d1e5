"""Encodes detections as the bytes of a response."""
