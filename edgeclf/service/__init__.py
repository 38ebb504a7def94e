"""Artifacts behind a port: what `edgeclf serve` runs, and what tries it under load.

A picture's way: `protocol` reads HTTP, `front` says who asks, `intake` makes pictures of the body,
`pool` lets one of a fixed number of threads answer by an engine of the version that `catalog` names
and `loading` has proven, `answers` writes what came out.
"""
