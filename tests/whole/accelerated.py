"""Races, measurements and studies on an accelerator, which is pretended: as on the CPU, bit for bit."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from support.nightly import at_night
from support.pretended import NAME, Elsewhere, Module, as_there, pretended
from support.queued import wait
from support.races import FOUR, small
from support.verbs import run
from support.waiting import wait_until

import olora_viz as ov
from olora_viz.lanes.layers import weight_of
from olora_viz.lanes.optimizers import OPTIMIZERS
from olora_viz.lanes.ranks import RANKED_BY
from olora_viz.machine.devices import devices, resolve_device
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race, race
from olora_viz.races.run import resume_run, start
from olora_viz.tasks.losses import lane_losses
from olora_viz.web.jobs.queue import Jobs

KINDS = {"whole": {}, "without float64": {"has_float64": False}}
"""What the device has; a third one has little memory."""

EVERYTHING = small(
    (
        *FOUR,
        ov.Lane("lora", r=2, dropout=0.2),
        ov.Lane("olora", r=2, lora_plus=4.0, targets=("q_proj",)),
        ov.Lane("mica", r=2, lr=1e-3, weight_decay=0.1, rslora=True),
        ov.Lane("full", lr=1e-4),
        ov.Lane("olora", r=2, lr=0.03, dim=50, weight_decay=0.1, clip=0.5),
        ov.Lane("olora", r=2, replay=0.1, replay_from="base", keep_kl=0.1),
        ov.Lane("olora", r=2, dora=True, lora_plus=4.0, weight_decay=0.1),
        ov.Lane("lora", r=2, dora=True, dropout=0.2),
        *(ov.Lane("olora", r=2, opt=opt) for opt in OPTIMIZERS if opt != "adamw"),
        ov.Lane("pissa", r=2, start_from="residual"),
        *(ov.Lane("olora", r=2, rank_by=by) for by in RANKED_BY),
        ov.Lane("lora", r=2, lr=1e30),
    ),
    steps=3, eval_every=2, gradients_every=2, keep="auto", keep_best=True, schedule="cosine", dtype="float32",
    base="nf4",
)  # fmt: skip
"""Lanes that differ in everything, one of which diverges, with everything measured that a race measures."""


@pytest.fixture(params=["without float64", *at_night("whole")])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    with as_there(monkeypatch), pretended(**KINDS[request.param]) as there:
        yield there


def both(config: RaceConfig) -> tuple[Race, Race]:
    """Return the races of a set-up there and on the CPU."""
    there, here = (race(replace(config, device=name)) for name in (NAME, "cpu"))
    assert isinstance(there.lanes.theta, Elsewhere)
    return there, here


def same(there: Race, here: Race) -> None:
    """Check that two races have the same steps and end in the same parameters."""
    steps = [*there]
    for one, other in zip(steps, here, strict=True):
        assert {*one.measures} == {*other.measures}
        for key, value in one.measures.items():
            for a, b in zip(arrays(value), arrays(other.measures[key]), strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{key} of step {one.step}")
        assert one.status == other.status
    assert torch.equal(there.lanes.theta.cpu(), here.lanes.theta.detach())


def arrays(value: object) -> list[np.ndarray]:
    """Return the numbers of a measure."""
    if isinstance(value, np.ndarray):
        return [value]
    return [each for each in vars(value).values() if isinstance(each, np.ndarray)]


def test_the_device_is_found_and_named(device: Module) -> None:
    assert devices() == ["cpu", f"{NAME}:0"]
    assert resolve_device().type == resolve_device(f"{NAME}:0").type == NAME
    with pytest.raises(ValueError, match=f"device '{NAME}:1' is not available: this machine has cpu and {NAME}:0"):
        resolve_device(f"{NAME}:1")
    with pytest.raises(RuntimeError, match="same device"):  # the stand-in refuses what a GPU refuses
        torch.ones(2, device=NAME) + torch.ones(2)
    with pytest.raises(TypeError, match=r"Tensor\.cpu"):
        np.asarray(torch.ones(2, device=NAME))


@pytest.mark.parametrize("objective", ["dpo", "reinforce"])
def test_preferences_and_rewards_are_those_of_the_cpu(device: Module, objective: str) -> None:
    lanes = ov.Lane("lora", r=2), ov.Lane("olora", r=2, kl=0.1, advantage="normalized"), ov.Lane("full", lr=1e-4)
    there, here = both(small(lanes, objective=objective, task="sentiment", metric="chrf", samples=3, dtype="float32"))
    same(there, here)


def test_a_race_with_everything_is_that_of_the_cpu(device: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("olora_viz.races.replay.MOST_REPLAYED", 4)  # each that is drawn takes as long as a step
    there, here = both(EVERYTHING)
    same(there, here)
    assert there.answers(2) == here.answers(2)
    assert there.state.out.tolist() == [*[False] * (len(EVERYTHING.lanes) - 1), True]


def test_every_start_is_that_of_the_cpu(device: Module) -> None:
    lanes = [ov.Lane(init) if init == "full" else ov.Lane(init, r=4, alpha=8) for init in ov.INITIALIZERS]
    there, here = both(small(tuple(lanes), steps=2))
    for init, one, other in zip(ov.INITIALIZERS, there.lanes.theta.cpu(), here.lanes.theta.detach(), strict=True):
        assert torch.equal(one, other), init
    same(there, here)


def test_measurements_are_those_of_the_cpu(device: Module) -> None:
    there, here = both(small())
    layer = here.lanes.layers[-1]
    numbers = []
    for racing in (there, here):
        list(racing)
        lanes, W = racing.lanes, weight_of(racing.model.get_submodule(layer))
        spectra, moved = ov.update_spectra(lanes), lanes.factors(layer, 1)
        (batch,) = racing.data.parts(1, 0)
        curved = ov.curvature(lanes, partial(lane_losses, racing.model, batch, lanes.count), steps=3)
        truncated = ov.truncation(W, 4, init="olora")
        odd = ov.intruder_dimensions(W, ov.Start(A=moved.A, B=moved.B), top=4)
        numbers.append([*arrays(spectra), *arrays(curved), truncated.sigma_BA, truncated.angles, odd.similarity])
    for one, other in zip(*numbers, strict=True):
        a, b = (x.cpu().numpy() if isinstance(x, torch.Tensor) else x for x in (one, other))
        np.testing.assert_allclose(a, b, rtol=1e-12)  # torch orders a few of its sums by the layout


def test_a_merge_costs_there_what_it_costs_on_the_cpu_and_each_form_is_computed_in_its_dtype(device: Module) -> None:
    there, here = both(small())
    costs = []
    for racing in (there, here):
        list(racing)
        costs.append(ov.merge_cost(racing, "olora"))
    one, other = costs
    assert (one.computed_in, other.computed_in) == ("its own dtype", "float32")
    assert (one.base, one.beside, one.merged["float32"]) == (other.base, other.beside, other.merged["float32"])
    assert all(one.merged[form].loss == pytest.approx(other.merged[form].loss, abs=0.05) for form in other.merged)


def test_a_step_waits_for_its_results_and_for_a_look_of_transformers(device: Module) -> None:
    racing = race(small(FOUR, device=NAME, steps=3))
    next(racing)
    device.waits.clear()
    next(racing)
    waits = {
        "trainer.py:_move (aten::_to_copy)": 1,
        "masking_utils.py:find_packed_sequence_indices (aten::_local_scalar_dense)": 1,
    }
    assert device.waits == waits


def test_a_run_begun_there_goes_on_here_and_the_other_way_round(device: Module, tmp_path: Path) -> None:
    config = small(FOUR, steps=6, eval_every=2)
    whole = [*race(replace(config, device="cpu"))]
    for first, second in ((NAME, "cpu"), ("cpu", NAME)):
        racing, other = (race(replace(config, device=name)) for name in (first, second))
        [next(racing) for _ in range(3)]
        other.restore(racing.snapshot())
        for one, expected in zip(other, whole[3:], strict=True):
            np.testing.assert_array_equal(one.loss, expected.loss)


def test_a_chain_is_that_of_the_cpu(device: Module, tmp_path: Path) -> None:
    config, tasks = small((*FOUR, ov.Lane("full", lr=1e-4)), steps=2, dtype="float32"), ("number-words", "uppercase")
    chains = [ov.chain(replace(config, device=name), tasks, folder=tmp_path / name) for name in (NAME, "cpu")]
    for chain in chains:
        for link in chain:
            list(link)
    there, here = ([link["lanes"] for link in chain.links] for chain in chains)
    for one, other in zip(there, here, strict=True):
        for label, lane in one.items():
            assert lane["results"] == other[label]["results"]
            known = {name: value for name, value in lane["moved"].items() if value is not None}
            assert known == pytest.approx({name: other[label]["moved"][name] for name in known}, rel=1e-5)
    assert ov.resume_chain(tmp_path / NAME).links == chains[0].links


def test_a_run_goes_on_in_the_dtype_in_which_it_was_begun_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = small(steps=4)
    with as_there(monkeypatch):
        with pretended(dtype=torch.bfloat16):
            begun = iter(start(config, tmp_path))
            assert [next(begun), next(begun)][-1].step == 2
            begun.close()
        resumed = resume_run(tmp_path)
        assert {each.dtype for each in resumed.race.model.parameters()} == {torch.bfloat16}
        assert resumed.race.device.type == "cpu"
        in_bfloat16 = [*race(replace(config, dtype="bfloat16"))]
        for one, expected in zip(resumed, in_bfloat16[2:], strict=True):
            np.testing.assert_array_equal(one.loss, expected.loss)


def test_adapters_of_there_are_read_here(device: Module, tmp_path: Path) -> None:
    there, here = both(small(FOUR))
    for racing, name in ((there, "there"), (here, "here")):
        list(racing)
        for form in ("lora", "olora"):
            ov.write_peft(racing.lanes, 1, tmp_path / name / form, form=form)
    for form in ("lora", "olora"):
        one, other = (
            (tmp_path / name / form / "adapter_model.safetensors").read_bytes() for name in ("there", "here")
        )
        assert one == other


def test_lanes_pass_in_groups_and_batches_in_parts_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(tuple(ov.Lane("olora", r=2, seed=k) for k in range(9)), steps=2, batch_size=16, eval_size=16)
    with as_there(monkeypatch):
        expected = [*race(replace(config, device="cpu"))]
        for free, parts in ((60, 1), (36, 2)):
            with pretended(memory=free * 10**6) as device:
                racing = race(replace(config, device=NAME))
                assert racing.config.accumulate == parts
                for one, other in zip(racing, expected, strict=True):
                    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-5)
                assert device.peak <= device.total


def test_a_race_too_large_for_the_device_is_refused_with_the_numbers() -> None:
    config = small(tuple(ov.Lane("lora", r=64, seed=k) for k in range(9)), device=NAME)
    with pretended(memory=24 * 10**6), pytest.raises(ValueError, match=r"needs \d+ MB of memory, but only \d+ MB are"):
        race(config)


def test_a_server_survives_a_race_that_uses_up_the_memory_of_its_device(jobs: Jobs) -> None:
    with pretended() as device:
        job = jobs.start(small(steps=10**6, device=NAME))
        wait_until(lambda: len(job.steps) > 1)
        device.total = device.used  # another program has taken the rest
        wait(job)
        assert job.state == "failed"
        assert job.note.startswith("the memory of the device is used up: fewer lanes, ")
        device.total = 1 << 34
        following = wait(jobs.start(small(device=NAME)))
        assert (following.state, following.note) == ("finished", "")


def test_a_server_races_on_two_at_once_each_race_as_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = small(FOUR, steps=10**6, eval_every=2)
    with as_there(monkeypatch), pretended(count=2) as device, closing(Jobs(folder=tmp_path)) as jobs:
        works = [jobs.start(config) for _ in range(2)]
        wait_until(lambda: all(len(work.steps) > 1 and work.state == "racing" for work in works))
        for work in works:
            jobs.pause(work)
        wait_until(lambda: all(work.state == "paused" for work in works))
        made = [len(work.steps) for work in works]
        for work in works:
            jobs.resume(work)
        wait_until(lambda: all(len(work.steps) > steps for work, steps in zip(works, made, strict=True)))
        for work in works:
            jobs.stop(work)
        for work in map(wait, works):
            assert work.state == "stopped"
            for one, other in zip(work.steps, race(replace(config, device="cpu")), strict=False):
                np.testing.assert_array_equal(one.loss, other.loss)
        assert {*device.made} == {0, 1}
        assert wait(jobs.start(small(device="cpu"))).state == "finished"


def test_tensors_of_two_do_not_mix() -> None:
    with pretended(count=2):
        one, other = (torch.ones(2, device=f"{NAME}:{index}") for index in (0, 1))
        assert (one + one).device != (other + other).device
        with pytest.raises(RuntimeError, match="same device"):
            one + other
        assert torch.equal(one.copy_(other).cpu(), torch.ones(2))
        assert resolve_device(f"{NAME}:1").index == 1
        with pytest.raises(ValueError, match=f"'{NAME}:2' is not available: this machine has cpu and {NAME}:0 and"):
            resolve_device(f"{NAME}:2")


LANES = ("--lane", "lora", "--lane", "olora")
SMALL = ("--batch-size", "4", "--eval-size", "4")
VERBS = {
    "gradients": ("gradients", *LANES, "--batch-size", "4"),
    "curvature": ("curvature", "--lane", "olora", "--batch-size", "2", "--layer", "model.layers.3.mlp.up_proj"),
    "study": ("study", "--init", "lora,olora", "--seeds", "2", "--lr", "1e-3", "--steps", "1", *SMALL),
}
LONG = {
    "decide": ("decide", "--minutes", "1", "--init", "lora", "--init", "olora"),
    "claims": ("claims", "--only", "cost", "--batch-size", "2"),  # the one that trains least
}


@pytest.mark.parametrize("kind", ["without float64", *at_night("whole")])
@pytest.mark.parametrize("verb", [*VERBS, *at_night(*LONG)])
def test_verbs_that_compute_run_there(verb: str, kind: str, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "out")) * (verb in ("study", "decide")) + ("--yes",) * (verb == "study")
    with pretended(**KINDS[kind]) as device:
        done = run(*(VERBS | LONG)[verb], "--task", "number-words", "--device", NAME, "--json", *out)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        assert device.peak > 0
    assert done.stdout


def test_a_race_of_the_command_line_runs_there_and_is_resumed_here(tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    options = (*LANES, *SMALL, "--task", "number-words", "--steps", "2", "--run", folder)
    with pretended(has_float64=False) as device:
        done = run("race", *options, "--device", NAME, "--json")
        assert (done.returncode, device.peak > 0) == (0, True), done.stderr
    # The device is gone: what it has trained is read without it, and goes on elsewhere.
    gone = f"device {NAME!r} is not available: this machine has cpu: the run goes on on cpu"
    with pytest.warns(UserWarning, match=gone):
        exported = run("export", folder, "--lane", "olora", "--out", str(tmp_path / "out"), "--form", "lora")
    assert exported.returncode == 0, exported.stderr
    with pytest.warns(UserWarning, match=gone):
        longer = run("race", "--resume", folder, "--steps", "3", "--json")
    assert (longer.returncode, '"step": 3' in longer.stdout) == (0, True), longer.stderr
    refused = run("race", *LANES, "--device", NAME)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert f"device {NAME!r}" in refused.stderr
