"""Every parser of outside files: how to call it, and a small corpus made by code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from corpus import as_json, random_pixels, saved_picture
from parsed_networks import (
    INPUT,
    network_corpus,
    read_checkpoint,
    read_graph,
    read_input,
    read_onnx,
    read_preflight,
    read_statistics,
    read_weights,
    safetensors,
    state_dicts_corpus,
    statistics_corpus,
    student_corpus,
)
from parsed_pictures import (
    calibrations_corpus,
    depths_corpus,
    hdf5s_corpus,
    indices_corpus,
    meshes_corpus,
    pictures_corpus,
    read_board_picture,
    read_calibration,
    read_depth,
    read_hdf5,
    read_index,
    read_masked,
    read_mesh,
    read_picture,
    read_scenenet,
    read_set_manifest,
    read_shard,
    set_manifests_corpus,
    shards_corpus,
    trajectories_corpus,
)
from parsed_records import (
    archives_corpus,
    artefacts_corpus,
    benches_corpus,
    board_errors,
    bundles_corpus,
    galleries_corpus,
    read_archive,
    read_artefact,
    read_bench,
    read_bundle,
    read_gallery,
    read_package,
    read_run,
    runs_corpus,
)

from calibration.errors import EdgekdError

__all__ = ["PARSERS", "Parser"]


@dataclass(frozen=True)
class Parser:
    """`read` is given an empty folder and the bytes of one file; it may raise what `allowed` names."""

    read: Callable[[Path, bytes], object]
    corpus: Callable[[], list[bytes]]
    allowed: tuple[type[Exception], ...] = (EdgekdError,)


PARSERS = {
    "onnx": Parser(read_onnx, network_corpus),
    "onnx-preflight": Parser(read_preflight, network_corpus),
    "onnx-student": Parser(read_graph, student_corpus),
    "checkpoint": Parser(read_checkpoint, state_dicts_corpus),
    "weights": Parser(
        read_weights, lambda: [safetensors({"architecture": "rooms", "input": INPUT}, "edgekd"), *statistics_corpus()]
    ),
    "statistics": Parser(read_statistics, statistics_corpus),
    "input": Parser(read_input, lambda: [as_json(INPUT)]),
    "picture": Parser(read_picture, pictures_corpus),
    "board-picture": Parser(read_board_picture, lambda: [saved_picture("PNG", random_pixels(5, 7, 3))], board_errors()),
    "mask": Parser(
        read_masked,
        lambda: [saved_picture("PNG", random_pixels(5, 7)), saved_picture("PNG", random_pixels(5, 7, kind=np.uint16))],
    ),
    "depth": Parser(read_depth, depths_corpus),
    "index": Parser(read_index, indices_corpus),
    "shard": Parser(read_shard, shards_corpus),
    "simulated-set": Parser(read_set_manifest, set_manifests_corpus),
    "calibration-set": Parser(read_calibration, calibrations_corpus),
    "scenenet": Parser(read_scenenet, trajectories_corpus),
    "hdf5": Parser(read_hdf5, hdf5s_corpus),
    "mesh": Parser(read_mesh, meshes_corpus),
    "run": Parser(read_run, runs_corpus),
    "artefact": Parser(read_artefact, artefacts_corpus),
    "bundle": Parser(read_bundle, bundles_corpus, board_errors()),
    "bundle-archive": Parser(read_archive, archives_corpus),
    "bench": Parser(read_bench, benches_corpus),
    "gallery": Parser(read_gallery, galleries_corpus),
    "package": Parser(read_package, archives_corpus),
}
"""By name. A corpus is what the fuzzer starts from: whole files, as small as they get."""
