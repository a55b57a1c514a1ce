"""A chain: what a merge keeps, lanes with different pasts, what is measured, and going on after a stop."""

import json
import math
import shutil
import signal
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from support.nightly import at_night
from support.verbs import objects, run
from torch import Tensor, nn

import olora_viz as ov
from olora_viz.cli.chain import print_chain
from olora_viz.initializers import INITIALIZERS, Start
from olora_viz.lanes.adapters import Lanes, attach_planned
from olora_viz.lanes.past import Past
from olora_viz.lanes.plan import plan_adapters
from olora_viz.measures.forgetting import base_predictions, forgotten
from olora_viz.races import chain as chain_module
from olora_viz.races.chain import Chain, kept, sentences
from olora_viz.races.race import Race
from olora_viz.races.run import restored

TASKS = ("number-words", "uppercase", "sentiment")

INITS = ("lora", "olora", "pissa", "orthogonal", "full")

LANES = tuple(
    ov.Lane(init, r=r, alpha=8, lr=1e-3, rslora=init == "pissa", dropout=0.1 if init == "orthogonal" else 0.0)
    for init, r in zip(INITS, (4, 8, 4, 8, 4), strict=True)
)
"""Different starts, ranks and scalings."""

SHORT = ov.RaceConfig(lanes=LANES, steps=3, batch_size=8, eval_size=8, eval_every=0, keep="none", device="cpu")

TWO = SHORT.replace(lanes=(LANES[1], LANES[4]), steps=2)

IDS = torch.randint(100, (2, 12), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def logits(model: nn.Module, lanes: int = 1) -> Tensor:
    """(lanes, rows, tokens, vocabulary)."""
    return model(IDS.repeat(lanes, 1)).logits.unflatten(0, (lanes, -1)).double()


def off(now: Tensor, before: Tensor) -> float:
    """The largest difference, as a share of the largest logit."""
    return float((now - before).abs().max() / before.abs().max())


def raced(chain: Chain) -> Chain:
    for link in chain:
        for _ in link:
            pass
    return chain


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A chain of three links in a folder."""
    return raced(ov.chain(SHORT, TASKS, folder=tmp_path_factory.mktemp("chains") / "whole"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The same with two of the lanes."""
    return raced(ov.chain(TWO, TASKS, folder=tmp_path_factory.mktemp("chains") / "pair"))


def test_a_merge_keeps_every_lanes_function_and_the_base_has_no_bit_changed() -> None:
    model, tokenizer = ov.load_model("glassllm")
    before = deepcopy(model.state_dict())
    past, end = None, None
    for task in TASKS:
        race = Race(SHORT.replace(task=task), model, tokenizer, past=past)
        if end is not None:
            assert off(logits(model, len(LANES)), end) < 1e-6
        list(race)
        end = logits(model, len(LANES))
        for k in range(len(LANES)):
            assert off(logits(race.lanes.merge(k))[0], end[k]) < 2e-6
        past = race.lanes.onward()
        race.lanes.detach()
    assert all(torch.equal(before[name], W) for name, W in model.state_dict().items())


def test_every_start_keeps_the_function_of_a_base_with_a_past() -> None:
    model, _ = ov.load_model("glassllm")
    drawn = torch.Generator().manual_seed(1)
    starts = [name for name, start in INITIALIZERS.items() if start.keeps_function and not start.needs]
    lanes = [ov.Lane(name, r=2 + i % 3, alpha=3) for i, name in enumerate(starts)]
    plan = plan_adapters(model, lanes, ["layers.0.*"])
    layers = {
        name: [start_like(W, k in plan.dense, drawn) for k in range(len(lanes))] for name, W in plan.weights.items()
    }
    past = Past(1, layers)
    attached = attach_planned(plan, past=past)
    beside = logits(model, len(lanes))
    attached.detach()
    for k, lane in enumerate(lanes):
        merged = deepcopy(model)
        for name, W in plan_adapters(merged, [lane], ["layers.0.*"]).weights.items():
            W.data += past.update(name, k)
        assert off(beside[k], logits(merged)[0]) < 2e-6, lane.init


def start_like(W: Tensor, dense: bool, drawn: torch.Generator) -> Start:
    """An update of a layer, of any rank; of full fine-tuning as it is kept."""
    B, A = torch.randn(len(W), 3, generator=drawn), 0.01 * torch.randn(3, W.shape[1], generator=drawn)
    return Start(A=B @ A, B=torch.eye(len(W))) if dense else Start(A=A, B=B)


@pytest.mark.parametrize(("dtype", "most"), [("float64", 1e-11), *at_night(("float32", 1e-4))])
def test_lanes_with_different_pasts_are_separate_models_that_were_merged(dtype: str, most: float) -> None:
    model, tokenizer = ov.load_model("glassllm", dtype=getattr(torch, dtype))
    config = SHORT.replace(dtype=dtype)
    separate, past = [deepcopy(model) for _ in LANES], None
    for i, task in enumerate(TASKS):
        race = Race(config.replace(task=task), model, tokenizer, past=past)
        steps = list(race)
        for k, lane in enumerate(LANES):
            # The same random starts, on a dense base of its own.
            alone = Race(config.replace(task=task, lanes=(lane,)), separate[k], tokenizer, past=nothing(race, k, i))
            losses = [step.loss[0] for step in alone]
            assert [step.loss[k] for step in steps] == pytest.approx(losses, rel=most)
            merged = alone.lanes.merge(0)
            alone.lanes.detach()
            separate[k] = merged
            assert off(logits(race.lanes.merge(k)), logits(merged)) < most
        past = race.lanes.onward()
        race.lanes.detach()


def nothing(race: Race, k: int, links: int) -> Past | None:
    """A past without an update."""
    if not links:
        return None
    W = {name: race.lanes.plan.weight(name) for name in race.lanes.layers}
    if k in race.lanes.plan.dense:
        layers = {n: [Start(A=torch.zeros_like(w), B=torch.eye(len(w), dtype=w.dtype))] for n, w in W.items()}
    else:
        layers = {n: [Start(A=w.new_zeros(0, w.shape[1]), B=w.new_zeros(w.shape[0], 0))] for n, w in W.items()}
    return Past(links, layers)


def test_a_start_of_a_later_link_reads_w_with_what_was_merged(whole: Chain) -> None:
    first, second = (restored(Path(whole.folder, f"link-{i}")) for i in (1, 2))
    second = Race(second.config, past=second.lanes.past)  # at its step 0
    for k, lane in enumerate(LANES):
        if lane.is_dense or INITIALIZERS[lane.init].random:
            continue
        for layer in first.lanes.layers[:3]:
            W = first.lanes.plan.weight(layer) + first.lanes.delta(layer, k)
            start, expected = second.lanes.factors(layer, k), INITIALIZERS[lane.init].start(W, lane.r, s=lane.scale)
            torch.testing.assert_close(start.B @ start.A, expected.B @ expected.A, rtol=0, atol=1e-5)


def test_random_starts_are_drawn_anew_in_every_link(whole: Chain) -> None:
    k = INITS.index("lora")
    races = [restored(Path(whole.folder, f"link-{i}")) for i in (1, 2, 3)]
    layer = races[0].lanes.layers[0]
    drawn = [race.lanes.start_factors(layer, k).A for race in races]
    assert len({tuple(A[0].tolist()) for A in drawn}) == 3


def test_a_lane_of_a_chain_does_what_it_does_alone(whole: Chain) -> None:
    for k in (1, 4):
        alone = raced(ov.chain(SHORT.replace(lanes=(LANES[k],)), TASKS))
        expected = [link["lanes"][whole.labels[k]]["results"] for link in whole.links]
        assert [link["lanes"][alone.labels[0]]["results"] for link in alone.links] == [
            {task: pytest.approx(values, rel=1e-5) for task, values in results.items()} for results in expected
        ]


def test_every_task_is_judged_after_every_link_as_its_own_race_judges_it(whole: Chain) -> None:
    assert [link["task"] for link in whole.links] == list(TASKS)
    frame = whole.frame()
    assert len(frame) == len(TASKS) + len(TASKS) * len(LANES) * len(TASKS)
    for i, task in enumerate(TASKS, 1):
        summary = ov.load_run(Path(whole.folder, f"link-{i}")).summary
        assert whole.base[task]["loss"] == pytest.approx(summary["base"]["loss"])
        for label in whole.labels:
            cell = whole.links[i - 1]["lanes"][label]["results"][task]
            assert cell["loss"] == pytest.approx(summary["lanes"][label]["final_loss"], rel=1e-6)
            assert cell["accuracy"] == summary["lanes"][label]["final_accuracy"]


def test_how_far_lanes_move_is_that_of_their_dense_updates(whole: Chain) -> None:
    second = restored(Path(whole.folder, "link-2"))
    lanes = second.lanes
    for k, label in enumerate(whole.labels):
        moved = whole.links[1]["lanes"][label]["moved"]
        own = torch.cat([lanes.delta(name, k).double().flatten() for name in lanes.layers])
        before = torch.cat([lanes.past.update(name, k).double().flatten() for name in lanes.layers])
        W = torch.cat([lanes.plan.weight(name).double().flatten() for name in lanes.layers])
        assert moved["update"] == pytest.approx(float(own.norm() / W.norm()), rel=1e-4)
        assert moved["all_updates"] == pytest.approx(float((own + before).norm() / W.norm()), rel=1e-4)
        cosine = float(own @ before / own.norm() / before.norm())
        assert moved["angle"] == pytest.approx(math.degrees(math.acos(cosine)), abs=0.01)


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A chain of two links at high rates, which measures a text to keep."""
    lanes = tuple(lane.replace(lr=3e-3 if lane.is_dense else 2e-2) for lane in LANES)
    config = SHORT.replace(lanes=lanes, keep="auto", eval_every=1, keep_best=True)
    return raced(ov.chain(config, TASKS[:2], folder=tmp_path_factory.mktemp("chains") / "fast"))


@pytest.mark.parametrize("number", [1, 2])
def test_intruders_are_those_of_the_dense_weights_against_those_before_the_chain(fast: Chain, number: int) -> None:
    lanes = restored(Path(fast.folder, f"link-{number}")).lanes
    weights = {name: lanes.plan.weight(name).double() for name in lanes.layers}
    known = {name: torch.linalg.svd(W, full_matrices=False).U for name, W in weights.items()}
    found = []
    for k, label in enumerate(fast.labels):
        count = 0
        for name, W in weights.items():
            before = 0.0 if lanes.past is None else lanes.past.update(name, k).double()
            U = torch.linalg.svd(W + before + lanes.delta(name, k).double(), full_matrices=False).U[:, :10]
            count += int(((known[name].mT @ U).abs().amax(0) < 0.5).sum())
        found.append(count)
        assert fast.links[number - 1]["lanes"][label]["moved"]["intruders"] == count / len(weights)
    assert len(set(found)) > 2, found


def test_in_large_models_intruders_are_not_counted_and_the_rest_is_measured(
    fast: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    race = restored(Path(fast.folder, "link-2"))
    monkeypatch.setattr(chain_module, "MOST_WORK", 1e7)
    moves = chain_module.moved(race.lanes, race.state.out)
    assert np.isnan(moves.pop("intruders")).all()
    for k, lane in enumerate(fast.links[1]["lanes"].values()):
        known = {name: value for name, value in lane["moved"].items() if name != "intruders"}
        assert {name: values[k] for name, values in moves.items()} == pytest.approx(known, rel=1e-4)


def test_a_link_begins_with_what_the_earlier_one_forgot(fast: Chain) -> None:
    """Of the best adapters, which are merged, and against the model before the first link."""
    first, second = (restored(Path(fast.folder, f"link-{i}")) for i in (1, 2))
    assert (first.state.best.step < first.done).any()
    lanes = [fast.links[0]["lanes"][label] for label in fast.labels]
    assert second.text.start_loss == pytest.approx([lane["text_loss"] for lane in lanes], rel=1e-4)
    assert second.text.start_drift == pytest.approx([lane["drift"] for lane in lanes], rel=1e-3)
    assert min(second.text.start_drift) > 0.01
    assert [link["base_text_loss"] for link in fast.links] == pytest.approx([first.text.loss] * 2)


def test_what_a_lane_forgot_is_that_of_its_merged_model(fast: Chain) -> None:
    race = restored(Path(fast.folder, "link-2"))
    base, _ = ov.load_model("glassllm")
    batches = race.data.batches(race.data.text.encoded, 8)
    before = base_predictions(base, batches)
    for k, label in enumerate(fast.labels):
        lane, alone = fast.links[1]["lanes"][label], forgotten(race.lanes.merge(k), batches, before, 1)
        assert (lane["text_loss"], lane["drift"]) == pytest.approx((alone.text_loss[0], alone.drift[0]), rel=1e-3)


def test_what_is_not_known_of_an_older_chain_has_no_column(
    fast: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_chain(fast)
    head, base, *_ = capsys.readouterr().out.splitlines()
    assert head.split()[-8:] == "intruders of 10 loss on the text drift".split()
    assert base.split()[-2:] == [f"{fast.links[0]['base_text_loss']:.3f}", "–"]
    values = json.loads(Path(fast.folder, "chain.json").read_text("utf-8"))
    for link in values["links"]:
        del link["base_text_loss"]
        for lane in link["lanes"].values():
            del lane["moved"]["intruders"], lane["text_loss"], lane["drift"]
    (tmp_path / "chain.json").write_text(json.dumps(values), "utf-8")
    older = ov.resume_chain(tmp_path)
    assert older.frame().equals(fast.frame())
    print_chain(older)
    assert capsys.readouterr().out.splitlines()[0].split()[-1] == "angle"


def test_exports_hold_the_whole_chain(whole: Chain, tmp_path: Path) -> None:
    race = restored(Path(whole.folder, "link-3"))
    end = logits(race.model, len(LANES))
    for k, label in enumerate(whole.labels):
        base, _ = ov.load_model("glassllm")
        peft = PeftModel.from_pretrained(base, Path(whole.folder, "link-3", "adapters", label))
        assert off(logits(peft), end[k]) < 2e-6, label
        assert off(logits(peft.merge_and_unload()), end[k]) < 2e-6, label
    with pytest.raises(ValueError, match="form 'olora' is not possible after a merge"):
        ov.write_peft(race.lanes, INITS.index("olora"), tmp_path / "olora", form="olora")


def test_curvature_after_a_merge_is_that_of_the_merged_model() -> None:
    model, tokenizer = ov.load_model("glassllm", dtype=torch.float64)
    config = SHORT.replace(lanes=LANES[1:2], dtype="float64")
    race = Race(config.replace(task=TASKS[0]), model, tokenizer)
    list(race)
    merged, past = race.lanes.merge(0), race.lanes.onward()
    race.lanes.detach()

    def curvature(model: nn.Module, past: Past) -> float:
        race = Race(config.replace(task=TASKS[1]), model, tokenizer, past=past)
        batch = race.batch(1)
        return float(ov.curvature(race.lanes, lambda: race.data.losses([batch])).lambda_max[0])

    race = Race(config.replace(task=TASKS[1]), model, tokenizer, past=past)
    empty = nothing(race, 0, 1)
    race.lanes.detach()
    assert curvature(model, past) == pytest.approx(curvature(merged, empty), rel=1e-6)


@pytest.mark.parametrize("stops", [(1, 1), (2, 1), (2, 2)])
def test_a_chain_goes_on_bitwise_from_its_folder(pair: Chain, tmp_path: Path, stops: tuple[int, int]) -> None:
    """Stopped in a link after so many steps; (2, 2) is after the last one, before anything is measured."""
    in_link, after = stops
    folder = tmp_path / "chain"
    chain = ov.chain(TWO, TASKS, folder=folder)
    for link in chain:
        for step in link:
            if (link.number, step.step) == (in_link, after):
                link.race.close()
        if link.number == in_link:
            break
    again = raced(ov.resume_chain(folder))
    assert again.to_json() == pair.to_json()
    for i in range(1, 4):
        name = f"link-{i}/checkpoint.safetensors"
        ours, theirs = (restored(Path(place, f"link-{i}")).lanes.theta for place in (folder, pair.folder))
        assert torch.equal(ours, theirs), name
    assert ov.resume_chain(folder).to_json() == pair.to_json()
    assert list(ov.resume_chain(folder)) == []


def test_a_chain_goes_on_where_a_link_was_killed_before_its_set_up_was_written(pair: Chain, tmp_path: Path) -> None:
    folder = tmp_path / "chain"
    shutil.copytree(Path(pair.folder), folder)
    values = json.loads((folder / "chain.json").read_text("utf-8"))
    (folder / "chain.json").write_text(json.dumps(values | {"links": values["links"][:1]}), "utf-8")
    shutil.rmtree(folder / "link-3")
    for file in [*(folder / "link-2").iterdir()]:
        if file.name != "past.safetensors":
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    assert raced(ov.resume_chain(folder)).to_json() == pair.to_json()


@pytest.mark.parametrize("where", ["judged", "onward", "detach"])
def test_an_interrupt_at_the_end_of_a_link_loses_nothing(
    where: str, pair: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = ov.chain(TWO, TASKS)
    list(next(chain))
    owner, call = (chain_module, chain_module.judged) if where == "judged" else (Lanes, getattr(Lanes, where))
    known = signal.getsignal(signal.SIGINT)

    def interrupted(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(owner, where, call)
        signal.raise_signal(signal.SIGINT)
        return call(*given, **more)

    monkeypatch.setattr(owner, where, interrupted)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            next(chain)
    finally:
        signal.signal(signal.SIGINT, known)
    assert raced(chain).links == pair.links


def test_a_loop_that_is_left_goes_on_in_the_same_link() -> None:
    chain = ov.chain(SHORT.replace(lanes=LANES[:1]), TASKS[:2])
    for link in chain:
        assert next(iter(link)).step == 1
        break
    assert [(link.number, [step.step for step in link]) for link in chain] == [(1, [2, 3]), (2, [1, 2, 3])]


def test_a_lane_that_diverges_leaves_the_chain_and_the_others_go_on() -> None:
    lanes = (ov.Lane("lora", r=4), ov.Lane("full", lr=1e30), ov.Lane("olora", r=4))
    chain = raced(ov.chain(SHORT.replace(lanes=lanes), TASKS))
    assert [list(link["lanes"]) for link in chain.links] == [["lora", "olora"]] * 3
    alone = raced(ov.chain(SHORT.replace(lanes=lanes[:1]), TASKS))
    ours, theirs = (c.links[-1]["lanes"]["lora"]["results"] for c in (chain, alone))
    assert ours == {task: pytest.approx(values, rel=1e-5) for task, values in theirs.items()}


def test_a_chain_ends_where_all_lanes_have_diverged() -> None:
    chain = raced(ov.chain(SHORT.replace(lanes=(ov.Lane("full", lr=1e30),)), TASKS))
    assert len(chain.links) == 1
    assert not chain.links[0]["lanes"]
    assert not kept(chain)


def of_losses(tasks: Sequence[str], lanes: Sequence[ov.Lane], losses: Sequence[Sequence[Sequence[float]]]) -> Chain:
    """A chain of made-up results: after each link, of each lane, on each task."""
    chain = Chain(SHORT.replace(lanes=tuple(lanes)), tasks)
    names = list(dict.fromkeys(tasks))
    chain.base = {task: {"loss": 5.0, "accuracy": 0.0} for task in names}
    for task, of_lanes in zip(tasks, losses, strict=True):
        results = [
            {name: {"loss": loss, "accuracy": 0.0} for name, loss in zip(names, own, strict=True)} for own in of_lanes
        ]
        lanes_of = {label: {"results": r, "moved": {}} for label, r in zip(chain.labels, results, strict=True)}
        chain.links.append({"task": task, "lanes": lanes_of})
    return chain


def test_what_is_kept_by_hand() -> None:
    lanes = [ov.Lane("lora", seed=seed) for seed in range(3)] + [ov.Lane("olora", seed=seed) for seed in range(3)]
    low, high = (1.0, 6.0), (0.5, 4.0)
    chain = of_losses(("a", "b"), lanes, [[low] * 3 + [high] * 3, [(3.0, 1.0)] * 3 + [(4.5, 0.5)] * 3])
    first, second = kept(chain)
    assert (first.method, second.method) == ("lora", "olora")
    assert (first.learned, first.forgotten) == ((1.0,) * 3, (2.0,) * 3)
    assert (first.ahead, first.at_end) == ((1.0,) * 3, (2.0,) * 3)
    assert (second.learned, second.forgotten, second.ahead) == ((0.5,) * 3, (4.0,) * 3, (-1.0,) * 3)
    assert sentences(kept(chain)) == [
        "Lowest mean loss over all tasks at the end: lora, 2 nats a token.",
        "Forgot most: olora, whose loss on the earlier tasks has risen by 4.",
    ]


def test_a_task_that_comes_again_is_learned_in_its_last_link() -> None:
    chain = of_losses(("a", "b", "a"), [ov.Lane("lora")], [[(1.0, 5.0)], [(3.0, 1.0)], [(0.5, 2.0)]])
    (only,) = kept(chain)
    assert (only.learned, only.forgotten, only.at_end) == ((0.75,), (1.0,), (1.25,))


def test_tasks_with_and_without_choices_are_in_one_chain(tmp_path: Path) -> None:
    file = tmp_path / "even.jsonl"
    rows = [{"prompt": f"Is {n} even?", "answer": ["yes", "no"][n % 2], "choices": ["yes", "no"]} for n in range(60)]
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    for tasks in (["number-words", str(file)], [str(file), "number-words"]):
        chain = ov.chain(
            ov.RaceConfig(lanes=(ov.Lane("olora", r=2),), steps=1, batch_size=4, eval_size=4, keep="none"), tasks
        )
        assert [len(list(link)) for link in chain] == [1, 1]
        assert len(chain.links) == 2


@pytest.mark.parametrize(
    ("tasks", "settings", "message"),
    [
        (["uppercase"], {}, "a chain has two or more tasks, not 'uppercase'"),
        ("uppercase", {}, "a chain has two or more tasks, not 'uppercase'"),
        ([], {}, "a chain has two or more tasks, not none"),
        (["uppercase", "upercase"], {}, "upercase"),
        (TASKS, {"lanes": (ov.Lane("eva"),)}, "eva starts from data that each lane's own base"),
        (TASKS, {"test": "rows.jsonl"}, "test 'rows.jsonl' has the examples of one task"),
    ],
)
def test_bad_input_is_one_sentence(tasks: list[str], settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        ov.chain(SHORT.replace(**settings), tasks, folder=tmp_path / "chain")
    assert not (tmp_path / "chain").exists()


def test_a_folder_is_not_overwritten_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("mine", "utf-8")
    with pytest.raises(ValueError, match="must be new or empty"):
        ov.chain(SHORT, TASKS, folder=tmp_path)
    with pytest.raises(ValueError, match=r"is not the folder of a chain: it has no chain\.json"):
        ov.resume_chain(tmp_path)
    (tmp_path / "chain.json").write_text('{"tasks": []}', "utf-8")
    with pytest.raises(ValueError, match="is not a chain: 'config'"):
        ov.resume_chain(tmp_path)


def test_a_past_that_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    race = ov.race(SHORT)
    list(race)
    past = race.lanes.onward()
    race.lanes.detach()
    monkeypatch.setattr("olora_viz.machine.memory.available_memory", lambda _: past.bytes)
    with pytest.raises(ValueError, match=r"5 lanes .* after 1 merged race, need"):
        Race(SHORT, past=past)


COMMAND = (
    "race", "--task", "number-words,uppercase", "--chain", "--lane", "lora:r=4", "--lane", "olora:r=4", "--steps", "2",
    "--batch-size", "4", "--eval-size", "4", "--eval-every", "0", "--keep", "none",
)  # fmt: skip


def test_the_command_line_races_a_chain_and_reads_it_again(tmp_path: Path) -> None:
    folder = tmp_path / "chain"
    done = run(*COMMAND, "--run", str(folder), "--json", "--png", str(tmp_path / "chain.png"))
    assert done.returncode == 0, done.stderr
    *steps, last = objects(done.stdout)
    assert [(line["link"], line["step"]) for line in steps] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert last["chain"] == json.loads(json.dumps(ov.resume_chain(folder).to_json()))
    assert (tmp_path / "chain.png").read_bytes().startswith(b"\x89PNG")
    words = run("race", "--resume", str(folder))
    assert words.returncode == 0, words.stderr
    assert "Forgot most:" in words.stdout
    assert "2 links of 2" in words.stdout
    out = run("export", str(folder / "link-2"), "--lane", "olora", "--out", str(tmp_path / "adapter"))
    assert out.returncode == 0, out.stderr
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text("utf-8"))["r"] == 4 * 4


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--task", "uppercase"), "a chain has two or more tasks, not 'uppercase'"),
        (("--lane", "lora:r=500"), "use a lower rank, or name other layers with --target"),
        (("--track", "trackio", "--run", "there"), "--track reports one race: leave it out of a chain"),
    ],
)
def test_the_command_line_refuses_in_a_sentence(more: tuple[str, ...], message: str) -> None:
    done = run(*COMMAND, *more)
    assert done.returncode == 2
    assert message in done.stderr
