"""Benchmark results for people: figures in words, tables, plots."""
