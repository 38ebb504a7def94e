"""The converters of one source: each made once, before any of them quantises."""

from __future__ import annotations

from collections.abc import Iterable

from edgeclf.converters import find_converter
from edgeclf.converters.base import Converter, Source, Target
from edgeclf.errors import ConversionError, EdgeclfError


class Exports:
    """Makes converters, and keeps them.

    Args:
        source: What they convert.
        file: Its name, for messages.
    """

    def __init__(self, source: Source, file: str) -> None:
        self._source, self._file = source, file
        self._made: dict[str, Converter | EdgeclfError] = {}

    def begin(self, targets: Iterable[Target]) -> None:
        """Makes the converters of all targets; what fails here is raised when it is asked for.

        A converter exports the network as it is made, which takes more memory for a moment than
        anything else: so none does it while another keeps what it measured.
        """
        for target in targets:
            self._make(target.converter)

    def converter_for(self, target: Target) -> Converter:
        """The converter of a target.

        Raises:
            ConversionError: It cannot export the source, or has no such precision.
        """
        quantized = self._source.quantized
        if quantized and target.precision != quantized.precision:
            raise ConversionError(
                f"{self._file} is quantised already: {quantized.scheme}. It can be taken over as "
                f"{quantized.precision}; for {target.precision}, convert the float model that it "
                "was made from."
            )
        converter = self._make(target.converter)
        if isinstance(converter, EdgeclfError):
            raise converter
        if not quantized and target.precision not in converter.precisions:
            raise ConversionError(
                f"The converter {target.converter} writes {', '.join(converter.precisions)}, not "
                f"{target.precision}."
            )
        return converter

    def _make(self, name: str) -> Converter | EdgeclfError:
        if name not in self._made:
            try:
                self._made[name] = self._new(name)
            except EdgeclfError as exc:
                self._made[name] = exc
        return self._made[name]

    def _new(self, name: str) -> Converter:
        made_by, quantized = find_converter(name), self._source.quantized
        if quantized and not getattr(made_by, "takes_quantized", False):
            raise ConversionError(
                f"{self._file} is quantised already: {quantized.scheme}. The converter {name} "
                "takes only models in float; convert the one that it was made from."
            )
        converter: Converter = made_by(self._source)
        return converter
