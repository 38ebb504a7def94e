"""Asks a service by Triton's client; for `serving_clients.py`, in an environment of its own.

python benchmarks/ask_by_triton.py http://127.0.0.1:8080 MODEL PHOTO...
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import tritonclient.http as triton


def ask(url: str, model: str, files: list[bytes]) -> dict[str, Any]:
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    given = triton.InferInput("image", [len(files)], "BYTES")
    given.set_data_from_numpy(np.array(files, dtype=np.object_))
    checks = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready() and client.is_model_ready(model),
        "metadata": client.get_model_metadata(model)["inputs"][0]["name"] == "image",
        "index": client.get_model_repository_index()[0]["state"] == "READY",
    }
    rows = {}
    for binary in (True, False):
        wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
        answer = client.infer(model, [given], outputs=wanted, request_id="a1")
        checks["id"] = answer.get_response()["id"] == "a1"
        rows["binary" if binary else "json"] = answer.as_numpy("probabilities").tolist()
    given.set_data_from_numpy(np.array([b"no picture"] * len(files), dtype=np.object_))
    try:
        client.infer(model, [given])
    except triton.InferenceServerException as exc:
        checks["error"] = "Picture 0" in str(exc)
    client.unload_model(model)
    checks["unload"] = not client.is_model_ready(model)
    client.load_model(model)
    checks["load"] = client.is_model_ready(model)
    return {"version": version("tritonclient"), "checks": checks, "rows": rows}


if __name__ == "__main__":
    contents = []
    for path in sys.argv[3:]:
        with open(path, "rb") as file:
            contents.append(file.read())
    print(json.dumps(ask(sys.argv[1], sys.argv[2], contents)))
