"""The calibration set."""
