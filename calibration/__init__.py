"""Calibration images for quantisation: the set, its digest, and whether it is good enough. See README.md."""
