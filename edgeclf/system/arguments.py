"""The arguments that several verbs share, each said once."""

from __future__ import annotations

import argparse
from typing import get_args

from edgeclf.system.device import Device

_USUAL = "litert for .tflite, onnxruntime for .onnx, tensorflow for .keras"
_OTHERS = "onnxruntime-spinning, tflite-micro, or one that another package registers"


def add_runtime(parser: argparse._ActionsContainer) -> None:
    """``--runtime``: what computes."""
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        default="auto",
        help=f"what computes: {_USUAL}; {_OTHERS}. The default, auto, is what 'edgeclf autotune' "
        "chose for this file on this machine, or else the first of those for its format, or "
        "another that is installed",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``: where it computes."""
    parser.add_argument(
        "--device",
        choices=get_args(Device),
        default="cpu",
        help="where it computes: cpu (the default) on every runtime, cuda by onnxruntime and "
        "tensorflow on an NVIDIA card, gpu and npu by litert's accelerators; it is there, or an "
        "error says why not",
    )
