"""How accurate depth is: metrics, protocols, data sets and the evaluation of a model. See README.md."""

from __future__ import annotations

from edgekd.evaluate.datasets import DepthDataset, DepthFrame, open_dataset
from edgekd.evaluate.evaluate import Evaluation, evaluate
from edgekd.evaluate.metrics import METRICS
from edgekd.evaluate.protocols import PROTOCOLS, ScoringProtocol, get_protocol

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "DepthDataset",
    "DepthFrame",
    "Evaluation",
    "ScoringProtocol",
    "evaluate",
    "get_protocol",
    "open_dataset",
]
