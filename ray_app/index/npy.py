"""An .npy file that is written piece by piece, whose length is known only at the end."""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_app.index.files import finish


class NpyWriter:
    """Appends rows; the file is whole when the block ends without an error."""

    def __init__(self, path: Path, dtype: np.dtype[Any], width: int | None = None) -> None:
        """``width``: numbers in a row; None for an array of one dimension."""
        self._dtype = dtype
        self._row = () if width is None else (width,)
        self._rows = 0
        self._file = path.open("wb")
        self._file.write(self._header())

    def append(self, values: NDArray[Any]) -> None:
        """Rows (n,) or (n, width). Raises TypeError for another type or shape."""
        if values.dtype != self._dtype or values.shape[1:] != self._row:
            raise TypeError(f"{values.dtype}{values.shape} in an array of {self._dtype} with rows {self._row}.")
        self._file.write(np.ascontiguousarray(values).data)
        self._rows += len(values)

    def __enter__(self) -> NpyWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        finish(self._file, self._header(), error)

    def _header(self) -> bytes:
        # numpy leaves room in every header for the first number of the shape to grow, so its size is fixed
        header = io.BytesIO()
        shape = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._rows, *self._row)}
        np.lib.format.write_array_header_1_0(header, shape)
        return header.getvalue()
