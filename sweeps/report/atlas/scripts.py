"""Data as scripts: a page that was opened from the disk may load these, and nothing else."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Little-endian, as every browser's typed arrays are here.
_KINDS = {
    np.dtype(np.uint8): "Uint8Array",
    np.dtype("<u2"): "Uint16Array",
    np.dtype("<u4"): "Uint32Array",
    np.dtype("<i2"): "Int16Array",
    np.dtype("<f4"): "Float32Array",
}


def write_script(path: Path, name: str, value: Mapping[str, Any]) -> int:
    """Write the call `Atlas.take(name, value)`; returns its bytes."""
    written = script(name, value)
    path.write_text(written, encoding="ascii")
    return len(written)


def script(name: str, value: Mapping[str, Any]) -> str:
    """The call `Atlas.take(name, value)`, ASCII.

    Arrays of numpy become text that the page reads as typed arrays. Nothing in a name can end the
    script, or be read as one.
    """
    text = json.dumps(value, default=_array, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f"{_begin(name)}{text});\n"


def renamed(written: str, name: str, other: str) -> str:
    """A script of `script` that gives the same under another name."""
    return _begin(other) + written.removeprefix(_begin(name))


def _begin(name: str) -> str:
    return f"Atlas.take({json.dumps(name)},"


def smallest(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 on, in as few bytes as hold them."""
    most = int(numbers.max(initial=0))
    return numbers.astype(np.uint8 if most < 1 << 8 else "<u2" if most < 1 << 16 else "<u4")


def _array(value: object) -> dict[str, str]:
    if not isinstance(value, np.ndarray) or value.dtype not in _KINDS:
        raise TypeError(f"a script holds no {type(value).__name__}")
    data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
    return {"kind": _KINDS[value.dtype], "data": data}
