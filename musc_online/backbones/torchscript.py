"""Tensors of a TorchScript archive, read without running the program inside it.

OpenAI publishes CLIP as TorchScript. `torch.jit.load` would run the archive's own code and is deprecated, so
the archive is taken for what it is, a zip of raw tensors and one index; the index is read by an unpickler
that can make nothing but tensors and empty records.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from musc_online.errors import WeightsError

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
}


class _Record:
    """Stands for any TorchScript module: its attributes, none of its code."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def _plain(value: Any, *_: Any) -> Any:
    return value


def _rebuild_tensor(storage: torch.Tensor, offset: int, size: Any, stride: Any, *_: Any) -> torch.Tensor:
    # as_strided refuses what would reach outside the storage.
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _plain,
    **{
        ("torch.jit._pickle", name): _plain
        for name in (
            "build_intlist",
            "build_tensorlist",
            "build_doublelist",
            "build_boollist",
            "restore_type_tag",
        )
    },
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
}


class _Index(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, prefix: str, size: int) -> None:
        self._archive, self._prefix = archive, prefix
        # Entries may be made to overlap; what is read is never more than the file holds.
        self._left = size
        super().__init__(io.BytesIO(self._read("data.pkl")))
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Record
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> torch.Tensor:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"refused to load a {kind}")
        if key not in self._storages:
            self._storages[key] = self._storage(str(key), dtype, int(count))
        return self._storages[key]

    def _storage(self, key: str, dtype: torch.dtype, count: int) -> torch.Tensor:
        content = self._read(f"data/{key}")
        if len(content) != count * dtype.itemsize:
            raise pickle.UnpicklingError(
                f"storage {key} has {len(content)} bytes, expected {count} x {dtype}"
            )
        return torch.frombuffer(content, dtype=dtype) if count else torch.empty(0, dtype=dtype)

    def _read(self, name: str) -> bytearray:
        entry = self._archive.getinfo(self._prefix + name)
        self._left -= entry.file_size
        if entry.compress_type != zipfile.ZIP_STORED or self._left < 0:
            raise pickle.UnpicklingError(f"{entry.filename} unpacks to more than is stored")
        return bytearray(self._archive.read(entry))


def is_archive(path: Path) -> bool:
    """Whether the file is a TorchScript archive rather than what `torch.save` writes."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read(path: Path) -> dict[str, torch.Tensor]:
    """Parameters and buffers under their dotted names.

    Raises:
        WeightsError: the archive is damaged, or asks for anything but tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            index = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            root = _Index(archive, index.removesuffix("data.pkl"), path.stat().st_size).load()
        return dict(_tensors(root, ""))
    except (pickle.UnpicklingError, zipfile.BadZipFile, StopIteration, EOFError, KeyError) as error:
        raise WeightsError(f"{path}: not a TorchScript archive of plain tensors ({error})") from None
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: damaged TorchScript archive ({' '.join(str(error).split())})") from None


def _tensors(record: Any, prefix: str) -> list[tuple[str, torch.Tensor]]:
    if isinstance(record, torch.Tensor):
        return [(prefix.removesuffix("."), record)]
    if not isinstance(record, _Record):
        return []
    return [pair for name, value in record.attributes.items() for pair in _tensors(value, f"{prefix}{name}.")]
