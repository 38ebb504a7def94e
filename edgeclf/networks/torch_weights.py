"""Reads tensors from a PyTorch checkpoint without PyTorch, and without running its code.

A checkpoint is a pickle, and a pickle can call anything it names. This reader answers only the
handful of names that a plain ``state_dict`` needs and refuses every other one. It knows the legacy
container (``torch.save`` before 1.6): five pickles in a row (magic number, protocol, system info,
the state dict, the storage keys), then each storage as an 8-byte count and its raw values.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt

from edgeclf.errors import ArtifactError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_STORAGE_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class _Storage:
    """A flat run of values that tensors are views into; filled once the file's end is read."""

    def __init__(self, dtype: str, count: int) -> None:
        self.dtype = np.dtype(dtype)
        self.count = count
        self.values: npt.NDArray[Any] = np.empty(0, self.dtype)


class _Tensor:
    """Where a tensor lies in its storage; offset and strides count elements."""

    def __init__(
        self,
        storage: _Storage,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        *_: object,
    ) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def to_array(self) -> npt.NDArray[Any]:
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.strides, *self.shape)) < 0 or last >= self.storage.count:
            raise ArtifactError(
                f"A tensor of shape {self.shape} reaches outside its storage of "
                f"{self.storage.count} values; the checkpoint is damaged. Install it again."
            )
        item = self.storage.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            self.storage.values[self.offset :], self.shape, [s * item for s in self.strides]
        )
        return np.ascontiguousarray(view)


class _StateDictUnpickler(pickle.Unpickler):
    _ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
        **{("torch", name): dtype for name, dtype in _STORAGE_DTYPES.items()},
    }

    def __init__(self, file: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise ArtifactError(
                f"The checkpoint asks for {module}.{name}, which no plain state dict needs. "
                "It was refused and nothing was run. Use a file that holds tensors only."
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, count, *_ = pid
        if kind != "storage" or dtype not in _STORAGE_DTYPES.values():
            raise ArtifactError(f"The checkpoint refers to {kind!r} data; expected a storage.")
        return self._storages.setdefault(key, _Storage(dtype, count))


def read_state_dict(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """Reads a legacy PyTorch state dict as numpy arrays.

    Args:
        path: A ``.pth`` file written by ``torch.save(model.state_dict())`` before PyTorch 1.6.

    Returns:
        Parameter names to arrays in PyTorch's layout, float32 or int64.

    Raises:
        ArtifactError: The file is no such checkpoint, is cut short, or names code to run.
    """
    storages: dict[str, _Storage] = {}
    with open(path, "rb") as file:
        try:
            magic, protocol, _system, tensors, keys = (
                _StateDictUnpickler(file, storages).load() for _ in range(5)
            )
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError) as exc:
            raise ArtifactError(f"{path} is not a legacy PyTorch checkpoint: {exc}") from exc
        if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL:
            raise ArtifactError(f"{path} is not a legacy PyTorch checkpoint (wrong magic number).")
        for key in keys:
            _fill(storages[key], file)
    return {name: t.to_array() for name, t in tensors.items() if isinstance(t, _Tensor)}


def _fill(storage: _Storage, file: BinaryIO) -> None:
    count = int.from_bytes(file.read(8), "little")
    raw = file.read(storage.count * storage.dtype.itemsize)
    if count != storage.count or len(raw) != storage.count * storage.dtype.itemsize:
        raise ArtifactError("The checkpoint is cut short. Install the package again.")
    storage.values = np.frombuffer(raw, storage.dtype)
