"""From images to detections: the predictor, its options and its results. It knows no HTTP."""
