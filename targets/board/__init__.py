"""What runs on a board: Python 3.8 and newer, the standard library, numpy and a runtime, nothing else. See README.md.

`targets` uses these modules as they are, and `targets.bundle` joins them into the one file run.py of a bundle.
"""
