"""onnxruntime, silent."""

import os
from typing import Any

__all__ = ["onnx_runtime"]


def onnx_runtime() -> Any:
    """The module, told before its first import to report nothing: as published it queues usage events for its maker in
    the user's home and sends them (docs/decisions.md). A user's own setting stands."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
