"""What detectron2's TensorMask answered, and the synthetic weights that it answered with."""
