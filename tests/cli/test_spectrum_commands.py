"""The verbs spectrum and inspect say what NumPy and PEFT say, in every form."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from support.inspected import lines, saved

from olora_viz.__main__ import main
from olora_viz.measures.truncation import layers_like
from olora_viz.models import load_model

LAYER = "model.layers.1.self_attn.q_proj"


def test_spectrum_prints_one_object_per_layer_and_start(capsys):
    found = lines(
        capsys, "spectrum", "--model", "glassllm", "--layer", "layers.1.self_attn.[qk]_proj",
        "--rank", "6", "--init", "olora", "--init", "pissa",
    )  # fmt: skip
    assert [(one["layer"][-6:], one["init"]) for one in found] == [
        ("q_proj", "olora"), ("q_proj", "pissa"), ("k_proj", "olora"), ("k_proj", "pissa"),
    ]  # fmt: skip
    weights = layers_like(load_model("glassllm")[0])
    for one in found:
        W = weights[one["layer"]].double().numpy()
        sigma = np.linalg.svd(W, compute_uv=False)
        np.testing.assert_allclose(one["sigma_W"], sigma, atol=1e-10)
        best = (sigma[:6] ** 2).sum() / (sigma**2).sum()
        np.testing.assert_allclose(one["energy_optimal"], best, rtol=1e-10)
        assert one["rank"] == 6
        assert one["bounded"] is True
        assert one["subset"] is (one["init"] == "pissa")
        if one["init"] == "olora":
            Q = np.linalg.qr(W[:, :6])[0]
            projected = np.linalg.svd(Q.T @ W, compute_uv=False)
            np.testing.assert_allclose(one["sigma_BA"], projected, atol=1e-10)
            np.testing.assert_allclose(one["energy"], (projected**2).sum() / (sigma**2).sum(), rtol=1e-10)


def test_spectrum_draws_a_picture_and_prints_a_table(capsys, tmp_path):
    picture = tmp_path / "spectra.png"
    assert main(["spectrum", "--layer", LAYER, "--rank", "4", "--png", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "olora_pivoted" in out
    assert "no, off by" in out
    with Image.open(picture) as image:
        assert image.size[0] == 1720
        assert len(image.convert("RGB").getcolors(2**24)) > 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "q_porj"], "unknown layer 'q_porj'; did you mean 'q_proj'"),
        (["--seed", "-1"], "seed must be a whole number from 0 to 2147483647, not -1"),
        (["--rank", "65"], r"rank 65 exceeds min\(out, in\) = 64 of 'model.layers.0.self_attn.k"),
        (["--init", "olra"], "unknown initialization 'olra'; did you mean 'olora'"),
        (["--init", "eva"], "'eva' needs the inputs of W over some data: use it in a race"),
        (["--model", "glasllm"], "unknown model 'glasllm'; did you mean 'glassllm'"),
    ],
)
def test_bad_input_is_one_sentence(capsys, arguments, message):
    assert main(["spectrum", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(message, err)


@pytest.mark.parametrize(
    "config",
    [
        {"r": 4, "lora_alpha": 8},
        {"r": 4, "lora_alpha": 8, "use_rslora": True},
        {"r": 4, "lora_alpha": 4, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 6}},
        {"r": 4, "lora_alpha": 4, "init_lora_weights": "olora"},
        {"r": 4, "lora_alpha": 6, "init_lora_weights": "pissa"},
    ],
    ids=["plain", "rslora", "patterns", "olora", "pissa"],
)
def test_inspect_says_what_pefts_merged_weights_say(capsys, tmp_path, config):
    moved = saved(tmp_path / "adapter", **config)
    found = lines(capsys, "inspect", str(tmp_path / "adapter"), "--model", "glassllm")
    assert [one["layer"] for one in found] == list(moved)
    for one in found:
        dense = np.linalg.svd(moved[one["layer"]], compute_uv=False)
        np.testing.assert_allclose(one["sigma"], dense[: len(one["sigma"])], atol=2e-5)
        np.testing.assert_allclose(one["norm"], np.linalg.norm(moved[one["layer"]]), rtol=1e-3)
        assert 0 < one["effective_rank"] <= one["rank"]
        assert dense[one["rank"] :].max(initial=0.0) < 1e-4


def test_inspect_writes_a_report_that_stands_alone(capsys, tmp_path):
    saved(tmp_path / "adapter", r=4)
    report, picture = tmp_path / "report.html", tmp_path / "adapter.png"
    assert main(["inspect", str(tmp_path / "adapter"), "--model", "glassllm",
                 "--html", str(report), "--png", str(picture)]) == 0  # fmt: skip
    assert "intruder dimensions in" in capsys.readouterr().out
    html = report.read_text(encoding="utf-8")
    assert html.count("<svg") == 8
    assert not re.search(r"<script|https?://|src=|@import", html)
    with Image.open(picture) as image:
        assert image.size[0] == 1720


def test_inspect_never_opens_a_pickle_and_says_what_is_missing(capsys, tmp_path):
    folder = tmp_path / "adapter"
    saved(folder, r=4)
    (folder / "adapter_model.safetensors").unlink()
    torch.save({"a": torch.ones(1)}, folder / "adapter_model.bin")
    assert main(["inspect", str(folder), "--model", "glassllm"]) == 2
    assert "pickled weights (.bin) are never loaded" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path)]) == 2
    assert "it has no adapter_config.json" in capsys.readouterr().err


def test_an_adapter_of_ours_names_its_base(capsys, tmp_path):
    run = tmp_path / "run"
    few = ("--steps", "2", "--batch-size", "4", "--eval-size", "4", "--test-size", "4")
    assert main(["race", *few, "--lane", "olora", "--run", str(run), "--json"]) == 0
    capsys.readouterr()
    found = lines(capsys, "inspect", str(run / "adapters" / "olora"))
    assert len(found) == 28
    assert all(one["intruders"] >= 0 and one["norm"] > 0 for one in found)
