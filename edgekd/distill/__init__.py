"""Data-free distillation: mixing, transformation, statistics matching, the loop. See README.md."""
