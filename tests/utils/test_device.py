"""Which device is used, in which precision, and what of the machine."""

import os
import sys
from types import SimpleNamespace

import pytest
import torch

from utils import device
from utils.errors import ConfigError


def test_the_cpu_is_chosen_by_name_and_an_absent_gpu_is_an_error_that_lists_what_is_there():
    assert device.select_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="'99' is not on this machine") as error:
        device.select_device("99")
    assert "cpu" in error.value.fix


def test_an_apple_gpu_is_listed_and_used_when_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert device.select_device("mps") == torch.device("mps")
    assert device.select_device("") == torch.device("cpu")
    with pytest.raises(ConfigError) as error:
        device.select_device("99")
    assert error.value.fix.startswith("choose one of: cpu, mps")


@pytest.mark.parametrize(("name", "non_blocking"), [("cuda", True), ("mps", False), ("cpu", False)])
def test_only_copies_to_cuda_may_be_unfinished_when_they_return(monkeypatch, name, non_blocking):
    asked = []
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **options: asked.append(options) or self)

    device.to_float_images(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.device(name))

    assert asked == [{"non_blocking": non_blocking}]


def test_autocast_is_off_where_it_is_not_wanted():
    assert device.autocast_dtype(torch.device("cpu"), amp=False) is None
    with device.autocast(torch.device("cpu"), None):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with device.autocast(torch.device("cpu"), torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_images_become_floats_from_0_to_1_in_their_memory_format():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 4)

    floats = device.to_float_images(images.contiguous(memory_format=torch.channels_last), torch.device("cpu"))

    assert floats[1, :, 2, 3].tolist() == pytest.approx([0, 0.2, 1])
    assert floats.is_contiguous(memory_format=torch.channels_last)


def test_peak_memory_is_that_of_this_process():
    before = device.memory_gb(torch.device("cpu"))
    block = torch.ones(64 * 2**20)  # 0.268 GB

    after = device.memory_gb(torch.device("cpu"))

    assert 0.01 < before <= after
    assert after >= 0.26
    del block


def test_peak_memory_on_windows_is_what_psutil_says(monkeypatch):
    facts = SimpleNamespace(peak_wset=2_500_000_000)
    process = SimpleNamespace(memory_info=lambda: facts)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(device, "psutil", SimpleNamespace(Process=lambda: process), raising=False)

    assert device.memory_gb(torch.device("cpu")) == 2.5


def test_usable_cpus_are_those_that_the_process_is_bound_to(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    assert device.usable_cpus() == 3

    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert device.usable_cpus() == 1
