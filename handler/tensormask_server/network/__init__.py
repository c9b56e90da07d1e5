"""The network alone: images as normalised tensors in, detections and mask logits out."""
