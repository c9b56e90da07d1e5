"""Configurations and weights as files; they are read without running anything in them."""
