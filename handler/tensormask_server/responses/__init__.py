"""From detections to the bytes of a response."""
