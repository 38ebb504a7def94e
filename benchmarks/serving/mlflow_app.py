"""An MLflow model from code: its server takes the picture as base64 in a column of JSON."""

import sys
from pathlib import Path
from threading import Lock

import mlflow
from mlflow.models import ModelSignature, set_model
from mlflow.types import ColSpec, DataType, Schema

sys.path.insert(0, str(Path(__file__).parent))


class Mugs(mlflow.pyfunc.PythonModel):
    def load_context(self, context) -> None:
        from engine import Engine

        self.engine, self.lock = Engine(), Lock()  # its server calls from several threads

    def predict(self, context, model_input, params=None):
        with self.lock:
            return [self.engine(content) for content in model_input["image"]]


set_model(Mugs())

if __name__ == "__main__":
    mlflow.pyfunc.save_model(
        sys.argv[1], python_model=__file__, pip_requirements=["ai-edge-litert"],
        signature=ModelSignature(Schema([ColSpec(DataType.binary, "image")])),
        code_paths=[str(Path(__file__).with_name("engine.py"))],
    )  # fmt: skip
