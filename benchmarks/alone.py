"""Files of an exported network, read in a process that lacks what they should not need."""

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

OURS = ("mis", "pruning", "sweeps", "trainables")
# What comes with Secateur; torch itself looks whether some of them are there.
OTHERS = ("ray", "mlflow", "optuna", "pandas", "matplotlib", "rich", "pyarrow", "scipy", "jinja2")
_NOT_TORCH = (*OURS, *OTHERS, "torchvision", "safetensors", "onnx")
BLOCKED = {
    "network.safetensors": (*OTHERS, "sweeps", "onnx", "onnxruntime"),
    "network.pt2": (*_NOT_TORCH, "onnxruntime"),
    "network.onnx": (*_NOT_TORCH, "torch", "onnxscript"),
}
"""File -> packages without which it must be read."""

_READ = {
    "network.safetensors": """
import torch
from trainables.networks import load_compacted
with torch.no_grad():
    found = load_compacted(PATH)(torch.from_numpy(images)).numpy()
""",
    "network.pt2": """
import torch
with torch.no_grad():
    found = torch.export.load(PATH).module()(torch.from_numpy(images)).numpy()
""",
    "network.onnx": """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
found = onnxruntime.InferenceSession(PATH, options).run(None, {"images": images})[0]
""",
}
_BLOCK = """
import importlib.abc, importlib.machinery, sys
class Refused(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        raise ImportError(spec.name + " is not here")
    def exec_module(self, module):
        raise ImportError
sys.meta_path.insert(0, Refused())
import numpy
images = numpy.load(IMAGES)
"""


def logits_alone(path: Path, images: Tensor, folder: Path) -> Tensor:
    """What a file, by its name, gives for images [n, 3, h, w] in such a process; [n, class].

    folder: for what the processes tell each other. Raises RuntimeError where it cannot be read.
    """
    name, read = path.name, _READ[path.name]
    there, back = folder / "images.npy", folder / "logits.npy"
    np.save(there, images.numpy())
    values: dict[str, Collection[str] | str] = {
        "BLOCKED": BLOCKED[name],
        "PATH": str(path),
        "IMAGES": str(there),
    }
    given = "".join(f"{key} = {value!r}\n" for key, value in values.items())
    code = given + _BLOCK + read + f"numpy.save({str(back)!r}, found)\n"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    if done.returncode:
        raise RuntimeError(done.stderr[-2_000:])
    return torch.from_numpy(np.load(back))
