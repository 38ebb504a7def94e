"""Asks a service by KServe's SDK; for `serving_clients.py`, in an environment of its own.

python benchmarks/ask_by_kserve.py http://127.0.0.1:8080 MODEL PHOTO...
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from importlib.metadata import version
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def ask(url: str, model: str, files: list[bytes]) -> dict[str, Any]:
    old, new = (InferenceRESTClient(RESTConfig(protocol=p)) for p in ("v1", "v2"))
    checks = {
        "live": await new.is_server_live(url) and await old.is_server_live(url),
        "ready": await new.is_server_ready(url) and await new.is_model_ready(url, model),
        "v1 ready": await old.is_model_ready(url, model),
        "no such model": not await new.is_model_ready(url, "nosuch"),
    }
    rows = {}
    for binary in (True, False):
        given = InferInput("image", [len(files)], "BYTES")
        if binary:
            given.set_data_from_numpy(np.array(files, dtype=np.object_), binary_data=True)
        else:
            given.data = [base64.b64encode(file).decode() for file in files]
        wanted = [RequestedOutput("probabilities", parameters={"binary_data": binary})]
        request = InferRequest(
            model_name=model, infer_inputs=[given], request_id="a1", request_outputs=wanted
        )
        answer = await new.infer(url, request, model_name=model)
        checks["id"] = answer.id == "a1"
        rows["binary" if binary else "json"] = answer.outputs[0].as_numpy().tolist()
    instances = [{"b64": base64.b64encode(file).decode()} for file in files]
    predicted = await old.infer(url, {"instances": instances}, model_name=model)
    rows["v1 predict"] = predicted["predictions"]
    given = InferInput("image", [1], "BYTES")
    given.set_data_from_numpy(np.array([b"no picture"], dtype=np.object_), binary_data=True)
    try:
        await new.infer(url, InferRequest(model, [given]), model_name=model)
    except httpx.HTTPStatusError as exc:
        checks["error"] = "Picture 0" in str(exc)
    return {"version": version("kserve"), "checks": checks, "rows": rows}


if __name__ == "__main__":
    contents = []
    for path in sys.argv[3:]:
        with open(path, "rb") as file:
            contents.append(file.read())
    print(json.dumps(asyncio.run(ask(sys.argv[1], sys.argv[2], contents))))
