"""The work behind the verbs, callable without the command line: each step takes a run, settings and a Progress.

`distill` and `calibrate` are the training side and import torch; nothing else here does. See edgekd/README.md.
"""
