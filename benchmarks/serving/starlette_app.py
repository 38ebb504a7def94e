"""The least that a server can do: it counts the body; and the least service, which answers it."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def count(request: Request) -> JSONResponse:
    return JSONResponse({"bytes": len(await request.body())})


async def ready(request: Request) -> JSONResponse:
    return JSONResponse({"ready": True})


routes = [Route("/count", count, methods=["POST"]), Route("/ready", ready)]
if os.environ.get("BENCHMARK_MODEL"):
    from engine import Engine

    engine, worker = Engine(), ThreadPoolExecutor(1)

    async def classify(request: Request) -> JSONResponse:
        content = await request.body()
        loop = asyncio.get_running_loop()
        return JSONResponse(await loop.run_in_executor(worker, engine, content))

    routes.append(Route("/classify", classify, methods=["POST"]))

if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=routes), port=int(os.environ["BENCHMARK_PORT"]), http="httptools",
        loop="uvloop", access_log=False, log_level="warning",
    )  # fmt: skip
