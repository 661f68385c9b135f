"""Where the batch is among the axes of a graph's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx

from edgekd.models.onnx_import.op import Op
from edgekd.models.onnx_import.shape import batch_after, squeezes_batch
from edgekd.models.onnx_import.table import ALIASES, POINTWISE

__all__ = ["BatchAxis"]


class BatchAxis:
    """The batch axis of every tensor that depends on the picture: the first, unless the graph moves or squeezes it."""

    def __init__(self) -> None:
        self._moved: dict[str, tuple[int, Op]] = {}  # the axis of tensors where it is not the first, and what moved it
        self._squeezed: set[str] = set()  # tensors without it in the ONNX graph, which here still have it

    def follow(self, op: Op, node: onnx.NodeProto, ranks: Mapping[str, int]) -> Op:
        """The operation with its batch axis filled in; takes up that of its outputs.

        `ranks` are the dimensions of its inputs that depend on the picture, by name. Raises ModelError where the axes
        of a result could not be told.
        """
        op = self._follow_moves(op, node, ranks)
        self._follow_squeezes(op, node, ranks)
        return op

    def alias(self, source: str, name: str) -> None:
        """Give a tensor a second name."""
        if source in self._squeezed:
            self._squeezed.add(name)
        if source in self._moved:
            self._moved[name] = self._moved[source]

    def require_first(self, name: str) -> None:
        """Raise ModelError if the batch is not the first axis of a tensor."""
        if name in self._moved:
            raise self._moved[name][1].refusal("moves the batch axis")

    def _follow_moves(self, op: Op, node: onnx.NodeProto, ranks: Mapping[str, int]) -> Op:
        moved = [self._moved[name] for name in ranks if name in self._moved]
        if not ranks or (not moved and op.kind not in ("Transpose", "Unsqueeze")):
            return op
        axes = {self._moved[name][0] if name in self._moved else 0 for name in ranks}
        by = moved[0][1] if moved else op
        op = replace(op, batch=axes.pop())
        alike = not axes and len(set(ranks.values())) == 1
        after = batch_after(op, max(ranks.values()), op.kind in POINTWISE | ALIASES) if alike else None
        if after is None:
            raise by.refusal("moves the batch axis")
        if after:
            self._moved.update(dict.fromkeys(node.output, (after, by)))
        return op

    def _follow_squeezes(self, op: Op, node: onnx.NodeProto, ranks: Mapping[str, int]) -> None:
        """Refuse an operation that refers to axes by number, or combines squeezed tensors with others: axis numbers
        differ where the batch was squeezed away."""
        squeezed = [name for name in ranks if name in self._squeezed]
        if squeezed:
            rank = ranks[squeezed[0]]
            known = [operand for operand in op.operands if operand is not None and operand.constant is not None]
            alone = len(squeezed) == len(ranks) and all(len(operand.shape) < rank for operand in known)
            if op.kind not in ALIASES and not (op.kind in POINTWISE and alone):
                raise op.refusal("works on pictures whose batch axis was squeezed away")
        if squeezed or (op.kind == "Squeeze" and ranks and squeezes_batch(op)):
            self._squeezed.update(node.output)
