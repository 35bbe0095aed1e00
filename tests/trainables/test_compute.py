"""Which device, which number format, what is compiled."""

import os

import pytest
import torch

from trainables.config import ComputeConfig, TrialConfig
from trainables.training.compute import (
    autocast,
    prepare_process,
    resolve_compile,
    resolve_device,
    resolve_precision,
    share_compiled,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def process():
    """The process's settings, given back afterwards."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    torch.backends.cudnn.benchmark = benchmark


@pytest.mark.parametrize("present", [True, False])
def test_auto_takes_the_gpu_where_there_is_one(monkeypatch, present):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
    assert resolve_device(ComputeConfig()).type == ("cuda" if present else "cpu")
    assert resolve_device(ComputeConfig(device="cpu")) == CPU


def test_a_gpu_that_is_asked_for_must_be_there(monkeypatch):
    config = ComputeConfig(device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="compute.device='cuda' needs a CUDA GPU and torch sees"):
        resolve_device(config)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device(config) == CUDA


def test_auto_precision_is_bf16_only_where_the_processor_has_it(monkeypatch):
    auto = ComputeConfig()
    for native, on_gpu, on_cpu in ((True, "bf16", "bf16"), (False, "fp16", "fp32")):
        # torch's default answer is True for every GPU, since it can emulate bf16.
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True, native=native: including_emulation or native,
        )
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        assert resolve_precision(auto, CUDA) == on_gpu
        assert resolve_precision(auto, CPU) == on_cpu
    assert resolve_precision(ComputeConfig(precision="fp16"), CPU) == "fp16"


def test_autocast_computes_in_the_precision():
    layer, x = torch.nn.Linear(4, 2), torch.ones(1, 4)
    expected = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    for precision, dtype in expected.items():
        with autocast(precision, CPU):
            assert layer(x).dtype == dtype
    assert layer(x).dtype == torch.float32


def test_prepare_process_sets_threads_and_flushes_denormals(process):
    before = torch.get_num_threads()
    prepare_process(ComputeConfig(threads=None))
    assert torch.get_num_threads() == before
    prepare_process(ComputeConfig(threads=before + 1))
    assert torch.get_num_threads() == before + 1
    assert (torch.full((1,), 1e-39) * 0.5).item() == 0


def test_what_is_compiled_where():
    """By default nothing; "auto" is for GPUs, and so are CUDA graphs."""
    assert ComputeConfig().compile == "off"
    wanted = {"off": ("off", "off"), "auto": ("off", "default"), "default": ("default", "default")}
    for mode, (on_cpu, on_gpu) in wanted.items():
        config = ComputeConfig(compile=mode)
        assert resolve_compile(config, CPU) == on_cpu
        assert resolve_compile(config, CUDA) == on_gpu
    graphs = ComputeConfig(compile="graphs")
    assert resolve_compile(graphs, CUDA) == "graphs"
    with pytest.raises(ValueError, match="compute.compile='graphs' needs a CUDA GPU"):
        resolve_compile(graphs, CPU)


def test_how_it_is_compiled_is_no_part_of_what_a_trial_is():
    config = TrialConfig()
    assert config.replace({"compute.compile": "default"}).key == config.key


def test_compiled_code_lies_in_the_cache_unless_the_user_chose_a_place(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    share_compiled(tmp_path / "cache")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache" / "compiled")
    share_compiled(tmp_path / "other")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache" / "compiled")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")


def test_fp32_on_a_gpu_is_fp32(process):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    prepare_process(ComputeConfig(precision="fp32"))
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("threads", [0, -1, 4_097, 2**31, 2**62])
def test_so_many_threads_are_refused(threads):
    with pytest.raises(ValueError, match="ComputeConfig.threads must be"):
        ComputeConfig(threads=threads)
