"""Checks that any test suite can call."""
