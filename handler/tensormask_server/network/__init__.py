"""The network alone: pictures as normalised tensors in, detections and mask logits out."""
