"""Imports ONNX networks as torch modules whose BatchNorm layers can be hooked and which autograd can differentiate."""

from edgekd.models.onnx_import.attention import attention
from edgekd.models.onnx_import.build import ImportedNetwork, import_onnx

__all__ = ["ImportedNetwork", "attention", "import_onnx"]
