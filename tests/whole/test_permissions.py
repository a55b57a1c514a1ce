"""The umask decides who reads what the package writes, whichever library wrote the file."""

import os
import stat
from contextlib import chdir

import pytest
from support.verbs import run

from olora_viz.races.export import EXPORT_FORMS

SMALL = "--model glassllm --task sentiment --steps 2 --batch-size 4"
FEW = f"{SMALL} --eval-size 8 --test-size 8"
STUDY = "--lr 1e-3 --r 2 --seeds 1"
WRITTEN = (
    f"race {FEW} --lane olora:r=2 --run run",
    *(f"export run --lane olora --out {form} --form {form}" for form in EXPORT_FORMS),
    f"study {FEW} {STUDY} --init lora,olora --out study --html s.html --png s.png",
    f"decide {SMALL} {STUDY} --init lora olora --out decision",
    "spectrum --layer layers.0.self_attn.k_proj --rank 2 --png spectrum.png",
    "inspect lora --html inspect.html",
)
"""Verbs that write files of every kind."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What the verbs write under two umasks, by umask."""
    home = tmp_path_factory.mktemp("permissions")
    places = {0o022: home / "022", 0o027: home / "027"}
    for umask, place in places.items():
        before = os.umask(umask)
        try:
            place.mkdir()
            with pytest.MonkeyPatch.context() as patch, chdir(place):
                patch.setenv("OLORA_VIZ_CACHE", str(place / "cache"))
                for verb in WRITTEN:
                    done = run(*verb.split())
                    assert done.returncode == 0, done.stderr
        finally:
            os.umask(before)
    return places


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_every_file_and_folder_has_the_permissions_that_the_umask_leaves(written, umask):
    place = written[umask]
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
