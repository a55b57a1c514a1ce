"""The code of a race repeats the race: both scripts are run, and their losses compared."""

import json
import re
import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.chats import PLAIN
from support.races import small, steps_of
from support.tiny import tiny_folder

from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.script import PEFT_STARTS, olora_viz_script, peft_script
from olora_viz.tasks import load_task

TEMPLATES = Path(__file__).parents[2] / "olora_viz/races/templates"
CONFIG = RaceConfig(
    lanes=(
        Lane("lora", lr=3e-3),
        Lane("olora", lr=1e-3, alpha="2r", clip=0.5),
        Lane("pissa", lr=1e-3, r=4, weight_decay=0.1, schedule="linear", warmup=0),
        Lane("orthogonal", lr=3e-3, seed=5, beta1=0.8, beta2=0.95),
        Lane("milora", lr=1e-3, lora_plus=4.0),
        Lane("corda", lr=1e-3),
        Lane("olora_unsubtracted", lr=1e-3, alpha=4),
        Lane("mica", lr=3e-3, rslora=True, warmup=2),
        Lane("olora", lr=1e-3, r=4, targets=("q_proj", "layers.[01].*")),
    ),
    steps=3, batch_size=4, seed=2, eval_every=0, eval_size=4, test_size=4, device="cpu",
    dtype="float32",
    schedule="cosine", warmup=1, batches="by-seed",
)  # fmt: skip


def losses_of(config: RaceConfig) -> np.ndarray:
    """The race's own, (steps, lanes)."""
    return np.array([step.loss for step in steps_of(config)])


def said_by(text: str, tmp_path: Path, capsys) -> str:
    """Run a script as a file, and return what it prints."""
    path = tmp_path / "script.py"
    path.write_text(text, encoding="utf-8")
    capsys.readouterr()
    runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


def peft_losses(config: RaceConfig, out: str) -> np.ndarray:
    """What the script with PEFT reports, (steps, lanes)."""
    found = re.findall(r"^(\S+) step (\d+) loss (\S+) gradient", out, re.MULTILINE)
    assert [label for label, *_ in found[:: config.steps]] == list(config.labels)
    return np.array([float(loss) for *_, loss in found]).reshape(-1, config.steps).T


def kinds(folder: Path) -> dict[str, RaceConfig]:
    """A race of every kind that a page can hand out the code of."""
    file = folder / "o'brien.jsonl"
    rows = [{"prompt": f"{n} is", "answer": (" even", " odd")[n % 2]} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    short = partial(small, steps=2, batch_size=3, device="cpu", dtype="float32")
    lanes = (Lane("lora", r=2), Lane("olora", r=2), Lane("pissa", r=2), Lane("eva", r=2))
    chat = tiny_folder("llama", folder / "chat")
    template = PLAIN.replace("message['role']", "'u'").replace("assistant:", "u:")
    (chat / "chat_template.jinja").write_text(template, encoding="utf-8")
    long = folder / "long.jsonl"
    rows = [{"prompt": f"{'so ' * (n % 12)}{n}", "answer": "ab"[n % 2]} for n in range(40)]
    long.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return {
        "own file": short(lanes[1:], task=str(file)),
        "a chat, cut to the model's context": short(
            lanes[:2], model=str(chat), task=str(long), chat=True, truncate=True, batch_size=8
        ),
        "plain text": short(lanes[1:2], task="text", max_length=48),
        "some layers": short(lanes[:2], targets=("q_proj", "down_proj")),
        "conv1d": short(lanes, model=str(tiny_folder("gpt2", folder)), task="addition"),
        "linear layers outside of the blocks": short(
            lanes[:2], model=str(tiny_folder("opt", folder)), task="addition", schedule="linear", warmup=1
        ),
    }


def test_the_script_with_olora_viz_repeats_the_race_bit_for_bit(tmp_path, capsys):
    exact = olora_viz_script(CONFIG).replace("{loss:.6f}", "{float(loss).hex()}")
    out = said_by(exact, tmp_path, capsys)
    found = np.array([float.fromhex(x) for x in re.findall(r"-?0x1\.[0-9a-f]+p[+-]\d+", out)])
    losses = losses_of(CONFIG)
    assert np.array_equal(found.reshape(losses.shape), losses)


def test_the_script_with_olora_viz_finds_the_fair_rates_of_the_race(tmp_path, capsys):
    lanes = (Lane("lora", r=2), Lane("olora", r=2, fair=True))
    config = small(lanes, steps=2, batch_size=2)
    out = said_by(olora_viz_script(config), tmp_path, capsys)
    for line, row in zip(re.findall(r"^\d.*$", out, re.MULTILINE), losses_of(config), strict=True):
        assert line.split()[2::2] == [f"{loss:.6f}" for loss in row]


def test_the_script_with_peft_trains_every_lane_as_the_race_does(tmp_path, capsys):
    """In float32, PEFT folds s B⁰A⁰ into W and multiplies in another order, hence 1e-3."""
    losses = losses_of(CONFIG)
    found = peft_losses(CONFIG, said_by(peft_script(CONFIG), tmp_path, capsys))
    np.testing.assert_allclose(found, losses, rtol=1e-3)
    assert (np.ptp(losses, axis=1)[1:] > 0.1).all()  # the lanes do differ by far more


def test_the_script_with_peft_has_the_dropout_of_the_race_by_masks_of_its_own(tmp_path, capsys):
    config = small((Lane("lora", lr=1e-2, dropout=0.5),), device="cpu", dtype="float32")
    losses = losses_of(config)
    found = peft_losses(config, said_by(peft_script(config), tmp_path, capsys))
    np.testing.assert_allclose(found[0], losses[0], rtol=1e-4)  # B is zero
    assert not np.isclose(found[-1], losses[-1], rtol=1e-4)


OF_PAIRS = small(
    (Lane("lora", lr=1e-3), Lane("olora", lr=1e-3, beta=0.5), Lane("milora", lr=3e-4, seed=1)),
    steps=10, task="sentiment", objective="dpo", batches="by-seed", device="cpu", dtype="float32",
)  # fmt: skip
OF_REWARDS = OF_PAIRS.replace(
    lanes=(
        Lane("lora", lr=1e-3),
        Lane("olora", lr=1e-3, kl=0.3),
        Lane("milora", lr=3e-4, seed=1, advantage="normalized"),
    ),
    model="glassllm-sentiment", steps=5, objective="reinforce", samples=4,
)  # fmt: skip
OF_ENDING_ANSWERS = OF_REWARDS.replace(model="glassllm", task="rewriting", steps=2, samples=2)


def peft_gradients(config: RaceConfig, out: str) -> np.ndarray:
    """The norms that the script with PEFT reports, (steps, lanes)."""
    norms = [float(norm) for norm in re.findall(r" gradient (\S+)$", out, re.MULTILINE)]
    return np.array(norms).reshape(-1, config.steps).T


@pytest.mark.parametrize("config", [OF_PAIRS, OF_REWARDS, OF_ENDING_ANSWERS], ids=["pairs", "rewards", "ending"])
def test_the_script_with_peft_learns_from_preferences_and_rewards_as_the_race_does(config, tmp_path, capsys):
    losses, gradients = losses_of(config), np.array([step.grad_norm for step in steps_of(config)])
    out = said_by(peft_script(config), tmp_path, capsys)
    np.testing.assert_allclose(peft_losses(config, out), losses, atol=1e-4)
    np.testing.assert_allclose(peft_gradients(config, out), gradients, rtol=1e-3, atol=1e-5)
    assert (np.ptp(gradients, axis=1) > 0.1).all()  # the lanes do differ by far more


@pytest.mark.parametrize(
    ("config", "right", "wrong"),
    [
        (OF_PAIRS, "lane.beta * margins", "margins"),
        (OF_PAIRS, ".eval()\n", ".eval()\n    reference.disable_adapter_layers()\n"),
        (OF_REWARDS, "draw {step}", "drawn {step}"),
        (OF_REWARDS, "lane.kl *", "2 * lane.kl *"),
        (OF_REWARDS, 'lane.advantage == "normalized"', "False"),
    ],
)
def test_a_script_that_learns_otherwise_has_other_gradients(config, right, wrong, tmp_path, capsys):
    """So that the agreement above says something; of OLoRA, PEFT's model without the adapter is the residual."""
    gradients = np.array([step.grad_norm for step in steps_of(config)[:2]])
    script = peft_script(config.replace(steps=2))
    assert right in script
    found = peft_gradients(config.replace(steps=2), said_by(script.replace(right, wrong), tmp_path, capsys))
    assert not np.allclose(found, gradients, rtol=0.01, atol=1e-5)


def test_only_what_a_script_learns_from_is_in_it():
    of_right_answers, of_pairs, of_rewards = map(peft_script, (CONFIG, OF_PAIRS, OF_REWARDS))
    for text, of_one in (("model(**batch", of_right_answers), ("rejected", of_pairs), ("reward", of_rewards)):
        assert [text in each for each in (of_right_answers, of_pairs, of_rewards)] == [
            each is of_one for each in (of_right_answers, of_pairs, of_rewards)
        ]


def test_rows_of_right_answers_and_plain_text_are_not_learned_from_otherwise(tmp_path, capsys):
    with pytest.raises(ValueError, match="a recipe's rows are right answers, and the objective dpo learns from more"):
        peft_script(OF_PAIRS, rows=load_task("sentiment"))
    with pytest.raises(
        ValueError, match="the objective reinforce needs prompts with answers, and 'text' is plain text"
    ):
        said_by(peft_script(OF_ENDING_ANSWERS.replace(task="text")), tmp_path, capsys)


@pytest.mark.parametrize(
    "kind",
    [
        "own file", "a chat, cut to the model's context", "plain text", "some layers", "conv1d",
        "linear layers outside of the blocks",
    ],
)  # fmt: skip
def test_both_scripts_repeat_a_race_of_every_kind(kind, tmp_path, capsys):
    config = kinds(tmp_path)[kind]
    losses = losses_of(config)
    theirs = peft_losses(config, said_by(peft_script(config), tmp_path, capsys))
    np.testing.assert_allclose(theirs, losses, rtol=1e-3)
    out = said_by(olora_viz_script(config), tmp_path, capsys)
    last = re.findall(r"^\d.*$", out, re.MULTILINE)[-1].split()[2::2]
    assert last == [f"{loss:.6f}" for loss in losses[-1]]


@pytest.mark.parametrize("name", ["with_olora_viz", "with_peft"])
def test_a_template_runs_as_it_is(name, capsys):
    template = runpy.run_path(str(TEMPLATES / f"{name}.py"))
    template["main"]()
    out = capsys.readouterr().out
    for label in template["CONFIG"].labels:
        assert len(re.findall(rf"\b{label} .*\d\.\d{{6}}", out)) == template["CONFIG"].steps


@pytest.mark.parametrize("script", [olora_viz_script, peft_script])
def test_a_script_is_its_template_but_for_the_settings(script):
    a, b = (script(replace(CONFIG, steps=steps)).splitlines() for steps in (3, 4))
    assert [one for one, other in zip(a, b, strict=True) if one != other] == ["    steps=3,"]
    assert not re.search("ettings|# End of|# Objective|# Optimizer", "\n".join(a))  # no mark of what was put in
    assert max(map(len, a)) <= 119
    assert "\n\n\n\n" not in "\n".join(a)


def test_a_start_that_peft_lacks_says_so_and_is_written_from_ours():
    text = peft_script(CONFIG)
    starts = re.search(r"STARTS = (\(.*?\n\))", text, re.DOTALL)[1]
    assert eval(starts) == (True, "olora", "pissa", "orthogonal", None, None, None, "mica", "olora")


def test_peft_s_olora_is_not_asked_for_where_it_is_wrong():
    for changes in ({"model": "gpt2"}, {"model": "a/local/folder"}, {"dtype": "float64"}):
        text = peft_script(RaceConfig(lanes=(Lane("olora"),), **changes))
        assert "STARTS = (\n    None,\n)" in text
    assert PEFT_STARTS["olora"] == "olora"


@pytest.mark.parametrize("model", ["gpt2", "smollm2-135m", "qwen2.5-0.5b", 'it\'s a "folder"\n'])
@pytest.mark.parametrize("script", [olora_viz_script, peft_script])
def test_scripts_are_python_whatever_is_in_the_set_up(model, script):
    lanes = (Lane("eva"), Lane("lora", label="a, b"))
    config = RaceConfig(model=model, task='o\'brien"""\n.csv', lanes=lanes, schedule="linear")
    compile(script(config), "script", "exec")


def test_peft_cannot_train_along_a_few_directions_and_the_script_with_olora_viz_can():
    config = RaceConfig(lanes=(Lane("lora"), Lane("olora", dim=64)))
    with pytest.raises(ValueError, match=r"the script with PEFT cannot train lane 'olora' along 64 directions"):
        peft_script(config)
    assert "Lane('olora', lr=0.001, r=8, dim=64)" in olora_viz_script(config)


def test_peft_cannot_replay_a_text_and_the_script_with_olora_viz_can():
    config = RaceConfig(lanes=(Lane("lora"), Lane("olora", replay=0.05, replay_from="base")))
    with pytest.raises(ValueError, match=r"cannot train lane 'olora' with replay=0.05, replay_from=base"):
        peft_script(config)
    assert "Lane('olora', lr=0.001, r=8, replay=0.05, replay_from='base')" in olora_viz_script(config)


def test_a_fair_rate_has_to_be_found_before_peft_can_take_it():
    config = RaceConfig(lanes=(Lane("lora"), Lane("olora", fair=True)))
    with pytest.raises(ValueError, match="lane 'olora' asks for a fair rate"):
        peft_script(config)
    assert "Lane('olora', lr=0.001, r=8, fair=True)" in olora_viz_script(config)


OF_OPTIMIZERS = CONFIG.replace(
    lanes=(
        Lane("lora", lr=0.03, opt="sgd"),
        Lane("olora", lr=0.03, opt="sgd", momentum=0.5, lora_plus=2.0, seed=1),
        Lane("olora", lr=1e-3, opt="riemannian", damping=0.1, weight_decay=0.1),
        Lane("pissa", lr=3e-3, opt="muon"),
        Lane("lora", lr=3e-3, opt="lora_fa"),
        Lane("olora", lr=1e-3),
    )
)


def test_the_script_with_peft_has_the_ranks_of_the_race(tmp_path, capsys):
    lanes = (
        Lane("lora", lr=3e-3, rank_by="energy"), Lane("olora", rank_by="gradient", rslora=True, alpha=4),
        Lane("pissa", rank_by="gradient", targets=("mlp",)), Lane("eva", lr=3e-3, rank_by="eva", alpha="2r"),
    )  # fmt: skip
    config = CONFIG.replace(lanes=lanes)
    losses = losses_of(config)
    found = peft_losses(config, said_by(peft_script(config), tmp_path, capsys))
    np.testing.assert_allclose(found, losses, rtol=1e-3)
    one_rank = losses_of(config.replace(lanes=tuple(lane.replace(rank_by=None) for lane in lanes)))
    assert (abs(one_rank / losses - 1)[-1] > 3e-3).all()


def test_the_script_with_peft_trains_dora(tmp_path, capsys):
    """From starts that PEFT has, and from those that it gets, with a product in W or beside it."""
    starts = {"lora": {}, "olora": {"lora_plus": 4.0}, "milora": {}, "olora_unsubtracted": {"weight_decay": 0.5}}
    config = CONFIG.replace(lanes=tuple(Lane(init, lr=3e-3, dora=True, **keys) for init, keys in starts.items()))
    losses = losses_of(config)
    found = peft_losses(config, said_by(peft_script(config), tmp_path, capsys))
    np.testing.assert_allclose(found, losses, rtol=1e-3)
    without = losses_of(config.replace(lanes=tuple(lane.replace(dora=False) for lane in config.lanes)))
    assert (np.abs(losses - without)[-1] > 1e-3 * losses[-1]).all()


def test_the_script_with_peft_has_the_optimizers_of_the_race(tmp_path, capsys):
    """Muon and LoRA-FA round to bfloat16 in the libraries."""
    losses = losses_of(OF_OPTIMIZERS)
    found = peft_losses(OF_OPTIMIZERS, said_by(peft_script(OF_OPTIMIZERS), tmp_path, capsys))
    np.testing.assert_allclose(found[:, [0, 1, 2, 5]], losses[:, [0, 1, 2, 5]], rtol=1e-3)
    np.testing.assert_allclose(found, losses, rtol=1e-2)
    assert (np.ptp(losses, axis=1)[1:] > 0.1).all()
    for lane in (Lane("lora", opt="sgd", weight_decay=0.1), Lane("lora", opt="riemannian", lora_plus=2.0)):
        with pytest.raises(ValueError, match=f"its {lane.opt} has no (decoupled weight decay|rate of its own for B)"):
            peft_script(CONFIG.replace(lanes=(lane,)))
