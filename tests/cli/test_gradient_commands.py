"""The verb gradients says what torch says, in every form."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from support.races import small

from olora_viz.__main__ import main
from olora_viz.figures import theme
from olora_viz.lanes.lane import Lane
from olora_viz.measures.conditioning import KERNEL_BATCHES
from olora_viz.measures.curvature import MOST_PRODUCTS, TRACE_PROBES
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race

SMALL = ("--batch-size", "2")
KEYS = ["step", "lane", "layer", "gradient", "parameter", "update", "ratio", "input"]


def lines(capsys, *arguments):
    assert main(["gradients", *SMALL, *arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_holds_one_object_per_lane_layer_and_step(capsys):
    found = lines(
        capsys, "--model", "glassllm", "--task", "addition", "--lane", "lora", "--lane",
        "olora:lr=1e-4/3e-4", "--steps", "2",
    )  # fmt: skip
    assert len(found) == 2 * 3 * 28
    assert all(list(one) == KEYS for one in found)
    assert list(dict.fromkeys(one["lane"] for one in found)) == ["lora", "olora@lr=1e-4", "olora@lr=3e-4"]
    first = found[0]
    assert first["step"] == 1
    assert first["layer"] == "model.layers.0.self_attn.q_proj"
    assert first["gradient"]["A"] == 0
    assert first["gradient"]["B"] > 0
    assert first["parameter"]["B"] == 0
    # Nothing can be said of an update as a share of zero, and nothing flows into the embedding.
    assert first["ratio"]["B"] is None
    assert first["input"] is None
    assert found[-1]["ratio"]["B"] == found[-1]["update"]["B"] / found[-1]["parameter"]["B"]


def test_the_numbers_are_those_of_the_race(capsys):
    found = lines(capsys, "--lane", "olora", "--seed", "3")
    running = race(small((Lane("olora"),), task=RaceConfig.task, batch_size=2, seed=3))
    step = next(running)
    total = np.sqrt(sum(one["gradient"][f] ** 2 for one in found for f in "AB"))
    np.testing.assert_allclose(total, step.grad_norm[0], rtol=1e-5)
    for one in found:
        start = running.lanes.start_factors(one["layer"], 0)
        assert one["parameter"]["A"] == pytest.approx(float(start.A.norm()), rel=1e-5)


REPLAYING = "lora:replay=0.5", "lora:keep_kl=20,replay_from=base", "lora"


def test_the_gradient_of_a_lane_that_replays_is_that_of_all_that_it_trains_on(capsys):
    specs = [word for spec in REPLAYING for word in ("--lane", spec)]
    found = lines(capsys, *specs, "--steps", "2")
    lanes = Lane("lora", replay=0.5), Lane("lora", keep_kl=20, replay_from="base"), Lane("lora")
    running = race(small(lanes, task=RaceConfig.task, batch_size=2, keep="auto"))
    norms = []
    for step in running:
        if step.step in (1, 2):
            norms.append(step.grad_norm)
    by_lane = np.reshape([sum(one["gradient"][f] ** 2 for f in "AB") for one in found], (2, 3, -1)).sum(-1)
    np.testing.assert_allclose(np.sqrt(by_lane), norms, rtol=1e-5)
    assert abs(norms[0][0] / norms[0][2] - 1) > 0.1, "half of the loss is that of the text"
    assert norms[0][1] == norms[0][2], "at the start a lane predicts what the base does"
    assert abs(norms[1][1] / norms[1][2] - 1) > 1e-4
    assert main(["gradients", *SMALL, *specs]) == 0
    assert "gradients of the task and of what is replayed before clipping" in capsys.readouterr().out


def test_what_is_replayed_can_be_another_text_and_is_none_where_no_lane_replays(capsys):
    ours, another = (lines(capsys, "--lane", REPLAYING[0], *keep) for keep in ((), ("--keep", "number-words")))
    assert ours[5]["gradient"] != another[5]["gradient"]
    assert main(["gradients", *SMALL, "--lane", "lora", "--keep", "number-words"]) == 2
    assert "none has it: leave it out" in capsys.readouterr().err
    assert main(["gradients", *SMALL, "--lane", REPLAYING[0], "--keep", "none"]) == 2
    assert "replay=0.5 needs a text to keep" in capsys.readouterr().err


@pytest.mark.parametrize("spec", REPLAYING[:2])
def test_the_curvature_is_that_of_the_task_and_a_lane_that_replays_is_refused(spec, capsys):
    assert main(["curvature", *SMALL, "--lane", "lora", "--lane", spec]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"that of the task's loss, of which (replay=0.5|replay_from=base, keep_kl=20) is no part", err)


def test_a_table_and_a_picture_of_the_default_lanes(capsys, tmp_path):
    picture = tmp_path / "gradients.png"
    assert main(["gradients", *SMALL, "--steps", "2", "--png", str(picture)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^olora +model\.layers\.3\.mlp\.down_proj ( +[\d.e-]+){9}$", out, re.M)
    assert "Euclidean norms in step 2: gradients before clipping" in out
    with Image.open(picture) as image:
        assert image.size[0] == 1720
        colors = {color for _, color in image.convert("RGB").getcolors(2**24)}
    for init in ("lora", "olora"):
        line = theme.palette("light")[init]
        assert tuple(int(line[i : i + 2], 16) for i in (1, 3, 5)) in colors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lane", "olra"], "unknown initialization 'olra'; did you mean 'olora'"),
        (["--model", "glasllm"], "unknown model 'glasllm'; did you mean 'glassllm'"),
        (["--task", "adition"], "unknown task 'adition'; did you mean 'addition'"),
        (["--steps", "0"], "steps must be a whole number from 1 to 2147483647, not 0"),
        (["--steps", "two"], "invalid int value: 'two'"),
        (["--dtype", "float16"], "unknown dtype 'float16'"),
    ],
)
def test_bad_input_is_one_sentence(capsys, arguments, message):
    try:
        code = main(["gradients", *arguments])
    except SystemExit as ended:
        code = ended.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_race_on_the_command_line_can_look_at_the_gradients(capsys, tmp_path):
    run = tmp_path / "run"
    few = ("--steps", "4", "--batch-size", "2", "--eval-size", "2", "--test-size", "2")
    asked = ("--lane", "olora", "--gradients-every", "2", "--run", str(run), "--json")
    assert main(["race", *few, *asked]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["gradients" in line for line in printed] == [True, True, False, True, False]
    kept = [json.loads(line) for line in (run / "steps.jsonl").read_text("utf-8").splitlines()]
    assert len(printed[1]["gradients"]["lanes"]["olora"]["gradient"]["A"]) == 28
    assert kept[1]["gradients"] == printed[1]["gradients"]


def test_the_picture_and_the_rows_are_of_the_rates_that_a_race_finds(capsys, tmp_path):
    picture = tmp_path / "gradients.png"
    spec = "olora:lr=1e-3/fair"
    assert main(["gradients", "--lane", "lora", "--lane", spec, "--batch-size", "2", "--json",
                 "--png", str(picture)]) == 0  # fmt: skip
    found = [json.loads(line)["lane"] for line in capsys.readouterr().out.splitlines()]
    names = list(dict.fromkeys(found))
    assert names[:2] == ["lora", "olora@lr=1e-3"]
    assert re.fullmatch(r"olora@lr=[3-9](\.\d)?e-4", names[2])
    assert picture.exists()


@pytest.mark.parametrize("verb", ["gradients", "curvature"])
def test_long_examples_are_cut_on_request_and_a_chat_template_is_used_where_there_is_one(verb, capsys):
    options = [verb, *SMALL, "--lane", "lora", "--lane", "olora", "--max-length", "3"]
    assert main(options) == 2
    assert "none of 1500 examples is within 3 tokens" in capsys.readouterr().err
    assert main([*options, "--truncate"]) == 0
    assert main([*options, "--chat"]) == 2
    assert "has no chat template: race it without chat" in capsys.readouterr().err


def test_the_help_of_curvature_says_the_defaults_of_its_search(capsys):
    with pytest.raises(SystemExit):
        main(["curvature", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for text, default in (
        ("for the eigenvalues", MOST_PRODUCTS),
        ("0 skips it", TRACE_PROBES),
        ("first N batches", KERNEL_BATCHES),
    ):
        assert f"{text}; default: {default}" in words
