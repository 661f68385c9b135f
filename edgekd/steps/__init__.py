"""The work behind the verbs, callable without the command line: each step takes a run, settings and a Progress.

Those of the training side import torch, and nothing else here does: edgekd/README.md names them.
"""
