"""Runtimes that artefacts are built for. See README.md."""
