"""Ray Serve hands a request on to a replica, which is a process of its own."""

import os
import signal

import ray
from engine import Engine
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 0})
class Mugs:
    def __init__(self) -> None:
        self.engine = Engine()

    async def __call__(self, request: Request) -> dict:
        if request.method == "GET":
            return {"ready": True}
        return self.engine(await request.body())


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["BENCHMARK_PORT"])})
    serve.run(Mugs.bind())
    signal.pause()
