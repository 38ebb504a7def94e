"""How converted networks end: the mean that takes their features, and what reads it."""

from edgeclf.converters.endings.features import find_features

__all__ = ["find_features"]
