"""The umask decides who reads what the package writes, whichever library wrote the file."""

import os
import stat

import pytest
from support.nightly import at_night
from support.verbs import run

from olora_viz.races.export import EXPORT_FORMS

SMALL = "--model glassllm --task sentiment --steps 2 --batch-size 4"
FEW = f"{SMALL} --eval-size 8 --test-size 8"
STUDY = "--lr 1e-3 --r 2 --seeds 1"
WRITTEN = (
    f"race {FEW} --lane olora:r=2 --run run",
    *(f"export run --lane olora --out {form} --form {form}" for form in EXPORT_FORMS),
    f"study {FEW} {STUDY} --init lora,olora --out study --html s.html --png s.png",
    f"decide {SMALL} {STUDY} --init lora olora --search alpha --out decision",
    "spectrum --layer layers.0.self_attn.k_proj --rank 2 --png spectrum.png",
    "inspect lora --html inspect.html",
)
"""Verbs that write files of every kind."""


@pytest.mark.parametrize("umask", [0o027, *at_night(0o022)])
def test_every_file_and_folder_has_the_permissions_that_the_umask_leaves(umask, tmp_path, monkeypatch):
    place = tmp_path / "place"
    before = os.umask(umask)
    try:
        place.mkdir()
        monkeypatch.chdir(place)
        monkeypatch.setenv("OLORA_VIZ_CACHE", str(place / "cache"))
        for verb in WRITTEN:
            done = run(*verb.split())
            assert done.returncode == 0, done.stderr
    finally:
        os.umask(before)
    files = {os.path.relpath(path, place): path for path in place.rglob("*")}
    wrong = {
        name: oct(mode)
        for name, path in files.items()
        if (mode := stat.S_IMODE(path.stat().st_mode)) != (0o777 if path.is_dir() else 0o666) & ~umask
    }
    assert not wrong
    for name in (
        "run/checkpoint.safetensors", "run/steps.jsonl", "run/adapters/olora/README.md",
        "run/adapters/olora/adapter_model.safetensors", "lora/adapter_model.safetensors",
        "olora/adapter_config.json", "merged/model.safetensors", "merged/tokenizer.json",
        "study/lanes.parquet", "study/examples.parquet", "decision/study.toml",
        "decision/adapter/adapter_model.safetensors", "s.html", "s.png", "spectrum.png",
        "inspect.html", "cache/spectra",
    ):  # fmt: skip
        assert name in files
