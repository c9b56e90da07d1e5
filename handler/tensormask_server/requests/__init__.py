"""Reads requests: from bytes, headers and form fields to images and options."""
