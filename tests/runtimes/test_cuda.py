"""What only a machine with a CUDA device can show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeclf import Classifier, load_image

# fp32 with TF32 and other orders of summation.
TOLERANCE = 0.005


def engine_lacks_cuda(file: str) -> bool:
    if file.endswith(".onnx"):
        import onnxruntime

        return "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


@pytest.mark.gpu
@pytest.mark.parametrize("file", ["mugs.fp32.onnx", "mugs.keras"])
def test_cuda_runs_and_answers_as_the_cpu_does(model_folder: Path, mugs: Path, file: str) -> None:
    if engine_lacks_cuda(file):
        pytest.skip(f"the engine installed for {file} was built without CUDA, or cannot load it")
    with (
        Classifier(model_folder / file, device="cuda") as gpu,
        Classifier(model_folder / file, device="cpu") as cpu,
    ):
        assert gpu.describe().device == "cuda" and cpu.describe().device == "cpu"
        spec = gpu.artifact.metadata.image
        images = np.stack([load_image(path, spec) for path in sorted(mugs.glob("eval/*/*.jpg"))])
        on_gpu, on_cpu = gpu.probabilities(images), cpu.probabilities(images)
    np.testing.assert_allclose(on_gpu, on_cpu, atol=TOLERANCE, rtol=0)
