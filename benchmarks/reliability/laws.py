"""What must hold of a run folder whose writer was killed, and of the run that goes on from it."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from olora_viz.machine.files import is_free, read_tensors
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig


def numbers(folder: Path) -> list[dict]:
    """Return the lines of a run on the disk, without how long the steps took."""
    lines = (folder / "steps.jsonl").read_text("utf-8").splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder, by their paths in it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def check_nothing_half(folder: Path, whole: Path) -> None:
    """Check that whatever of a run can be read is whole, and that of the uninterrupted one."""
    if not (folder / "config.json").exists():
        assert is_free(folder), f"no config.json, but {sorted(folder.iterdir())}"
        return
    assert runs.read_config(folder) == runs.read_config(whole)
    steps = [repr(step.loss) for step in runs.read_steps(folder)]
    assert steps == [repr(step.loss) for step in runs.read_steps(whole)][: len(steps)]
    if (folder / runs.CHECKPOINT).exists():
        assert read_tensors(folder / runs.CHECKPOINT)["clock"][0] <= len(steps)
    if runs.read_summary(folder):
        assert len(steps) == len(runs.read_steps(whole))
    for adapter in whole.glob("adapters/*"):
        its = contents(folder / "adapters" / adapter.name)
        its.pop("read_back.json", None)
        its.pop("read_back.json.partial", None)
        assert its.items() <= contents(adapter).items()
        half = f"half an adapter: {sorted(its)}"  # its README comes after it
        assert not its or len(its.keys() - {"README.md"}) == 2, half


def check_goes_on(folder: Path, whole: Path, config: RaceConfig) -> None:
    """Let a run go on to its end, and check that it is the uninterrupted one, bit for bit."""
    begun = (folder / "config.json").exists()
    list(runs.resume_run(folder) if begun else runs.start(config, folder))
    check_same(folder, whole)


def check_same(folder: Path, whole: Path) -> None:
    """Check that two finished runs are the same, bit for bit."""
    assert numbers(folder) == numbers(whole)
    mine, theirs = (read_tensors(one / runs.CHECKPOINT) for one in (folder, whole))
    for name, tensor in theirs.items():
        differs = [k for k in range(tensor.numel()) if name.endswith("clock") and k != 1] or slice(None)
        a, b = (one[name].flatten()[differs] for one in (mine, theirs))
        assert torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)), f"{name} differs"
    assert contents(folder / "adapters") == contents(whole / "adapters")
    assert contents(folder).keys() == contents(whole).keys(), "something is left behind"
