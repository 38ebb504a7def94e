"""LitServe takes JSON or a form, so the picture is base64 in JSON."""

import base64
import os

import litserve
from engine import Engine


class Mugs(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.engine = Engine()

    def decode_request(self, request: dict) -> bytes:
        return base64.b64decode(request["image"])

    def predict(self, content: bytes) -> dict:
        return self.engine(content)

    def encode_response(self, answer: dict) -> dict:
        return answer


if __name__ == "__main__":
    server = litserve.LitServer(Mugs(), accelerator="cpu", workers_per_device=1)
    server.run(
        port=int(os.environ["BENCHMARK_PORT"]), num_api_servers=1, generate_client_file=False,
        log_level="warning",
    )  # fmt: skip
