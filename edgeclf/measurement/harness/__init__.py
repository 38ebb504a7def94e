"""Measurements, each in a fresh process, alone or in turns with others."""
