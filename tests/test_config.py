"""lib.config: mode, seeds and device come from the environment and from nowhere else."""

import dataclasses
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from lib import config


@dataclasses.dataclass(frozen=True)
class Setting:
    steps: int
    rate: float = 0.1
    widths: tuple[int, ...] = (8,)
    pretrained: bool = False
    hub: tuple[str, ...] = ()


SMALL = Setting(steps=3)
FULL = Setting(steps=3000, rate=0.01, widths=(512, 512), pretrained=True, hub=("a/b",))


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("BOOK_MODE", "BOOK_SEED"):
        monkeypatch.delenv(name, raising=False)


def test_the_default_mode_is_small():
    assert config.mode() == "small" and config.small_or_full(SMALL, FULL) is SMALL


def test_full_mode_takes_the_full_configuration(monkeypatch):
    monkeypatch.setenv("BOOK_MODE", "full")
    assert config.small_or_full(SMALL, FULL) is FULL


def test_dry_mode_is_the_full_configuration_with_the_numbers_of_the_small_one(monkeypatch):
    monkeypatch.setenv("BOOK_MODE", "dry")
    dry = config.small_or_full(SMALL, FULL)
    assert (dry.steps, dry.rate, dry.widths) == (3, 0.1, (8,))
    assert dry.hub == ("a/b",) and dry.pretrained is True  # names and flags choose the code path: they stay full


@pytest.mark.parametrize("value", ["Small", "tiny", ""])
def test_an_unknown_mode_is_refused(monkeypatch, value):
    monkeypatch.setenv("BOOK_MODE", value)
    with pytest.raises(ValueError, match=r"BOOK_MODE must be one of small, full, dry, got"):
        config.mode()


@dataclasses.dataclass
class Loose:
    steps: int = 1


@pytest.mark.parametrize(
    "pair", [(SMALL, Loose()), (1, 2), (Loose(), Loose()), ({"a": 1}, {"a": 2}), (Setting, Setting)]
)
def test_configurations_are_two_instances_of_one_frozen_dataclass(pair):
    with pytest.raises(ValueError, match="two instances of one frozen dataclass, got"):
        config.small_or_full(*pair)


def test_book_seed_shifts_every_seed_and_the_shifted_ranges_do_not_meet(monkeypatch):
    plain = set(config.seeds(1000))
    monkeypatch.setenv("BOOK_SEED", "3")
    assert config.seed() == 3000 and config.seeds(3) == [3000, 3001, 3002]
    assert not plain & set(config.seeds(1000))


@pytest.mark.parametrize("value", ["-1", "1.5", "x", ""])
def test_a_book_seed_that_is_no_natural_number_is_refused(monkeypatch, value):
    monkeypatch.setenv("BOOK_SEED", value)
    with pytest.raises(ValueError, match="BOOK_SEED must be a non-negative integer, got"):
        config.seed()


@pytest.mark.parametrize("k", [-1, 1000])
def test_seed_numbers_out_of_range_are_refused(k):
    with pytest.raises(ValueError, match=rf"must lie in \[0, 1000\), got {k}"):
        config.seed(k)


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_a_count_of_seeds_out_of_range_is_refused(count):
    with pytest.raises(ValueError, match=r"at least one seed|must lie in"):
        config.seeds(count)


def test_generators_are_reproducible_and_differ_by_number_and_by_book_seed(monkeypatch):
    def draw(k):
        return torch.rand(4, generator=config.generator(k)).tolist(), config.rng(k).random(4).tolist()

    first = draw(1)
    assert draw(1) == first
    assert all(a != b for a, b in zip(draw(2), first, strict=True))
    monkeypatch.setenv("BOOK_SEED", "1")
    assert all(a != b for a, b in zip(draw(1), first, strict=True))


def test_generators_leave_the_global_state_alone():
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    config.generator(5)
    config.rng(5)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == legacy).all()  # noqa: NPY002


def test_the_small_mode_stays_on_the_cpu():
    assert config.device() == torch.device("cpu")


def test_other_modes_take_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setenv("BOOK_MODE", "full")
    for present, name in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda present=present: present)
        assert config.device() == torch.device(name)


def test_cpu_seconds_counts_work_and_not_waiting_and_survives_errors():
    with config.cpu_seconds() as waiting:
        time.sleep(0.05)
    with pytest.raises(RuntimeError), config.cpu_seconds() as failing:
        raise RuntimeError
    assert waiting["seconds"] < 0.04 and "seconds" in failing  # a sleep of 50 ms costs well under 1 ms of CPU


def test_versions_name_mode_seed_and_packages(monkeypatch):
    monkeypatch.setenv("BOOK_SEED", "1")
    found = config.versions()
    assert found["mode"] == "small" and found["seed"] == 1000 and found["numpy"] == np.__version__


def test_an_absent_package_is_reported_as_absent(monkeypatch):
    from importlib import metadata

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert config.versions()["torch"] == "absent"


def test_asking_for_the_mode_loads_no_torch():
    code = "import sys; from lib import config; config.versions(); config.seeds(2); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
