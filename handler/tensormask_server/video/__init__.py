"""Videos and folders of frames: read upright, tracked, drawn on and written. It knows nothing of HTTP."""
