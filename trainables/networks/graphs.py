"""A network as a graph in a file, which needs no code of ours: torch.export's, and ONNX."""

import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from trainables.networks.build import logits_of

_EXTRA = ("onnx", "onnxscript", "onnxruntime")
_BATCH = "batch"


class _Logits(nn.Module):
    """A network without what it answers beside its logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.network(images))[0]


def as_graph(network: nn.Module, pixels: int) -> ExportedProgram:
    """The network in evaluation, of float32 images [n, 3, pixels, pixels] with any n, to its
    logits [n, class].

    network: on the CPU, its tensors contiguous. Raises ValueError, in one sentence, where torch
    cannot follow its forward pass.
    """
    network = network.eval().requires_grad_(False)
    images = _example(pixels)
    with torch.no_grad():
        answer = network(images)
    try:
        with _quiet():
            graph = torch.export.export(
                network if isinstance(answer, Tensor) else _Logits(network),
                (images,),
                dynamic_shapes=({0: Dim(_BATCH)},),
            )
    except Exception as error:  # torch has many kinds, and a user's forward pass any other
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise ValueError(
            "the forward pass of the network must be one that torch.export follows, for batches of "
            f"any size, it is not ({type(error).__name__}: {first})"
        ) from error
    for module in graph.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, GraphModule) else ():
            node.meta.pop("stack_trace", None)  # lines of source, and folders of this machine
    return graph


def save_graph(graph: ExportedProgram, path: Path) -> None:
    """Write it for `torch.export.load`, which needs torch alone."""
    buffer = io.BytesIO()  # torch wants a name to end in .pt2, and a file in the making has another
    with _quiet():
        torch.export.save(graph, buffer)
    path.write_bytes(buffer.getvalue())


def save_onnx(graph: ExportedProgram, path: Path, pixels: int) -> None:
    """Write it as ONNX with the input `images`, the output `logits` and the axis `batch`.

    Raises ValueError as `require_onnx`, and where the exporter has no operator for a part of it.
    """
    require_onnx()
    try:
        with _quiet():
            made = torch.onnx.export(
                graph,
                (_example(pixels),),
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: _BATCH},),
                dynamo=True,
                verbose=False,
            )
            if made is None:
                raise RuntimeError("the exporter gave nothing")
            made.save(path, external_data=False)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise ValueError(
            "the network must be of operators that torch.onnx has, it is not "
            f"({type(error).__name__}: {first})"
        ) from error


def run_graph(path: Path, images: Tensor) -> Tensor:
    """The logits that a file of `save_graph` gives."""
    with torch.no_grad():
        answer: Tensor = torch.export.load(io.BytesIO(path.read_bytes())).module()(images)
    return answer


def run_onnx(path: Path, images: Tensor) -> Tensor:
    """The logits that onnxruntime gives, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def require_onnx() -> None:
    """Raise ValueError where the packages of the extra are not installed."""
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"ONNX must have its packages, {', '.join(missing)} {_is(missing)} not installed: "
            "make onnx in a checkout, else pip install onnx onnxscript onnxruntime"
        )


def _is(missing: list[str]) -> str:
    return "is" if len(missing) == 1 else "are"


def _example(pixels: int) -> Tensor:
    # Two images: a batch of one would be exported as a batch that is always one.
    return torch.zeros(2, 3, pixels, pixels)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' words on their own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
