"""The work behind the verbs, callable without the command line: each step takes a run, settings and a Progress.

Only the steps of the training side, which edgekd/README.md lists, import torch.
"""
