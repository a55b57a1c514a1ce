"""The code of a race repeats the race: both scripts are run, and their losses compared."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.script import PEFT_STARTS, olora_viz_script, peft_script

ROOT = Path(__file__).parents[1]
CONFIG = RaceConfig(
    lanes=(
        Lane("lora", lr=3e-3),
        Lane("olora", lr=1e-3, alpha=16, clip=0.5),
        Lane("pissa", lr=1e-3, r=4, weight_decay=0.1),
        Lane("orthogonal", lr=3e-3, seed=5),
        Lane("milora", lr=3e-3),
        Lane("corda", lr=1e-3),
        Lane("mica", lr=3e-3, rslora=True),
    ),
    steps=3, batch_size=4, seed=2, eval_every=0, device="cpu", dtype="float32",
    schedule="cosine", warmup=1, batches="by-seed",
)  # fmt: skip


@pytest.fixture(scope="module")
def losses() -> np.ndarray:
    """The race's own, (steps, lanes), on one thread as the scripts have."""
    script = (
        "import json, sys; from olora_viz import RaceConfig, race; "
        "config = RaceConfig.from_json(json.loads(sys.argv[1])); "
        "print(json.dumps([[float(x).hex() for x in s.loss] for s in race(config)]))"
    )

    text = run("-c", script, json.dumps(CONFIG.to_json()))
    return np.array([[float.fromhex(x) for x in row] for row in json.loads(text)])


def run(*arguments: str) -> str:
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_script_with_olora_viz_repeats_the_race_bit_for_bit(losses, tmp_path):
    text = olora_viz_script(CONFIG)
    exact = text.replace("{loss:.6f}", "{float(loss).hex()}")
    assert exact != text
    (tmp_path / "again.py").write_text(exact)
    out = run(str(tmp_path / "again.py"))
    found = np.array([float.fromhex(x) for x in re.findall(r"-?0x1\.[0-9a-f]+p[+-]\d+", out)])
    assert np.array_equal(found.reshape(losses.shape), losses)


def test_the_script_with_peft_trains_every_lane_as_the_race_does(losses, tmp_path):
    """In float32, PEFT folds s B⁰A⁰ into W and multiplies in another order, hence 1e-3."""
    (tmp_path / "with_peft.py").write_text(peft_script(CONFIG))
    out = run(str(tmp_path / "with_peft.py"))
    found = re.findall(r"^(\S+) step (\d+) loss (\S+)", out, re.MULTILINE)
    assert [label for label, *_ in found[::3]] == list(CONFIG.labels)
    theirs = np.array([float(loss) for *_, loss in found]).reshape(len(CONFIG.lanes), 3).T
    np.testing.assert_allclose(theirs, losses, rtol=1e-3)
    assert (np.ptp(losses, axis=1)[1:] > 0.1).all()  # the lanes do differ by far more


def test_a_start_that_peft_lacks_says_so_and_is_written_from_ours():
    text = peft_script(CONFIG)
    assert "('milora', Lane('milora', lr=0.003, r=8), None),  # PEFT has no start like it" in text
    assert "('olora', Lane('olora', lr=0.001, r=8, alpha=16, clip=0.5), 'olora')" in text
    assert "glassllm is on no hub" in text


def test_peft_s_olora_is_not_asked_for_where_it_is_wrong():
    for changes in ({"model": "gpt2"}, {"model": "a/local/folder"}, {"dtype": "float64"}):
        text = peft_script(RaceConfig(lanes=(Lane("olora"),), **changes))
        assert "Lane('olora', lr=0.001, r=8), None)" in text
    assert PEFT_STARTS["olora"] == "olora"


@pytest.mark.parametrize("model", ["gpt2", "smollm2-135m", "qwen2.5-0.5b", 'it\'s a "folder"\n'])
@pytest.mark.parametrize("script", [olora_viz_script, peft_script])
def test_scripts_are_python_whatever_is_in_the_set_up(model, script):
    lanes = (Lane("eva"), Lane("lora", label="a, b"))
    config = RaceConfig(model=model, task='o\'brien"""\n.csv', lanes=lanes, schedule="linear")
    compile(script(config), "script", "exec")


def test_a_fair_rate_has_to_be_found_before_peft_can_take_it():
    config = RaceConfig(lanes=(Lane("lora"), Lane("olora", fair=True)))
    with pytest.raises(ValueError, match="lane 'olora' asks for a fair rate"):
        peft_script(config)
    assert "Lane('olora', lr=0.001, r=8, fair=True)" in olora_viz_script(config)
