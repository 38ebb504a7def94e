"""Artifacts x runtimes x threads x batches: the rows, and what follows from them."""
