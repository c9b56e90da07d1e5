"""Training of TensorMask networks on data sets in COCO's format: `python -m training`."""
