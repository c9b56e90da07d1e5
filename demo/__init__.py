"""The main job from end to end, on a real picture: `make demo`."""
