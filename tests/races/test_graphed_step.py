"""A step without copies to the CPU, and as a CUDA graph: its logic, on a CPU; see `support.captured`."""

import re
import traceback
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from support.captured import ATEN, Graph, on_cpu, waits
from support.mixtures import mixture
from support.races import FOUR, PAIR, small, steps_of
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import olora_viz as ov
from olora_viz.lanes.lane import Lane
from olora_viz.machine.threads import on_one_core
from olora_viz.races import data
from olora_viz.races.config import RaceConfig
from olora_viz.races.graphed_step import FixedBatches, obstacle
from olora_viz.races.race import race

MANY = (
    *FOUR,
    Lane("olora", r=2, lora_plus=4.0),
    Lane("mica", r=2, lr=1e-3, weight_decay=0.1),
    Lane("lora", r=2, lr=1e30),
)
"""Lanes that differ in everything: a frozen B that would decay, two rates in one lane, and one that diverges."""

config = partial(small, MANY, steps=5, schedule="cosine", eval_every=2)


@pytest.fixture(autouse=True)
def padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes are padded here, as on a GPU."""
    monkeypatch.setattr(data, "can_unpad", lambda model: False)


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    """Compute in this thread: torch's modes do not see others."""
    with on_one_core():
        yield


class Spy(TorchDispatchMode):
    """Notes where the CPU would wait for a GPU: the innermost function of this package or of transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def note(self) -> None:
        frames = [f for f in traceback.extract_stack() if re.search("/(olora_viz|transformers)/", f.filename)]
        self.places.append(frames[-1].name)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if waits(operation, args) or operation is ATEN.lift_fresh.default:
            self.note()
        return operation(*args, **(kwargs or {}))


class Reads(TorchFunctionMode):
    """Notes copies to the CPU, which are no operations on a CPU."""

    def __init__(self, spy: Spy) -> None:
        self.spy = spy

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (Tensor.cpu, Tensor.tolist, Tensor.__array__):
            self.spy.note()
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("batches", ["shared", "by-seed"])
def test_a_step_reads_its_results_and_nothing_else(batches: str) -> None:
    racing = race(small(MANY[:-1], batches=batches))
    next(racing)
    spy, state = Spy(), racing.state.copy()
    with spy, Reads(spy):
        racing._trainer.update(2, state)
    # Batches are made on the CPU, and transformers looks at the positions before the first layer.
    assert [place for place in spy.places if place != "_laid_out"] == ["find_packed_sequence_indices", "_move"]


@pytest.mark.parametrize("batches", ["shared", "by-seed"])
def test_padding_changes_no_lane(batches: str) -> None:
    racing = race(config(batches=batches, dtype="float64"))
    next(racing)
    data, lanes = racing.data, racing.lanes
    orders = [racing.config.order(lane) for lane in MANY]
    size = data.trained_with(racing.config.prompts_in_pass)
    fixed = FixedBatches(data, size._replace(rows=size.rows + 1, width=size.width + 5), orders, lanes.theta.device)
    shapes = set()
    for number in (2, 5, 3):
        own = [batch for order in orders for batch in data.parts(number, order)]
        shapes |= {batch.size for batch in own}
        fixed.write(number)
        results = []
        for read in (data, fixed):
            batches_of = {order: read.parts(number, order)[0] for order in orders}
            losses = read.losses([batches_of[order] for order in orders])
            (gradient,) = torch.autograd.grad(losses.sum(), lanes.theta)
            results.append((losses.detach(), gradient))
        (losses, gradient), (padded, of_padded) = results
        torch.testing.assert_close(padded, losses, rtol=1e-6, atol=0.0, equal_nan=True)
        gap = torch.linalg.vector_norm(of_padded - gradient, dim=1) / torch.linalg.vector_norm(gradient, dim=1)
        assert gap[losses.isfinite()].max() < 1e-5  # the model rounds to float32 within
    assert len(shapes) > 1


@pytest.mark.parametrize("changes", [{"batches": "shared"}, {"batches": "by-seed", "gradients_every": 3}])
def test_a_race_of_graphs_is_the_race_without_them(changes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = race(config(dtype="float64", **changes))
    steps = list(plain)
    graphs = on_cpu(monkeypatch)
    graphed = race(config(dtype="float64", **changes))
    again = [next(graphed) for _ in range(4)]
    gradient = graphed.lanes.theta.grad.clone()
    again += list(graphed)
    assert [graph.replays for graph in graphs] == [3 if "gradients_every" in changes else 4]
    assert [step.status for step in again] == [step.status for step in steps]
    assert "diverged" in steps[-1].status
    for step, other in zip(again, steps, strict=True):
        for key in {"loss", "grad_norm", "eval_loss"} & set(other.measures):
            np.testing.assert_allclose(
                step.measures[key], other.measures[key], rtol=3e-6, err_msg=f"{step.step} {key}"
            )
    torch.testing.assert_close(graphed.lanes.theta, plain.lanes.theta, rtol=1e-5, atol=1e-6)
    assert not torch.equal(gradient, graphed.lanes.theta.grad)


def test_an_interrupted_step_of_a_graph_is_repeated_bitwise(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = on_cpu(monkeypatch)
    whole = list(race(config()))
    racing = race(config())
    begun = [next(racing) for _ in range(3)]
    replay = graphs[-1].replay

    def cut_short() -> None:
        replay()
        monkeypatch.undo()
        graphs[-1].replay = replay
        raise KeyboardInterrupt

    graphs[-1].replay = cut_short
    with pytest.raises(KeyboardInterrupt):
        next(racing)
    assert [*begun, *racing] == whole


class Blind(Graph):
    """A graph that lacks the update of a lane."""

    def replay(self) -> None:
        updates = [i for i, each in enumerate(self.operations) if each[0] is ATEN._fused_adamw_.tensor_lr]
        del self.operations[updates[2]]
        super().replay()


class Refused(Graph):
    """A capture that fails."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation is ATEN._fused_adamw_.tensor_lr:
            raise RuntimeError("operation not permitted when stream is capturing")
        return super().__torch_dispatch__(operation, types, args, kwargs)


@pytest.mark.parametrize(
    ("kind", "why"),
    [(Blind, "its first replay differs from the ordinary step beyond rounding"), (Refused, "capturing it fails: ope")],
)
def test_what_is_not_the_ordinary_step_is_dropped(
    kind: type[Graph], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = steps_of(config())
    on_cpu(monkeypatch, kind)
    with pytest.warns(UserWarning, match=f"^the step of the race is not a CUDA graph: {why}"):
        assert list(race(config())) == plain


def test_without_a_gpu_the_switch_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = steps_of(config())
    monkeypatch.setenv("OLORA_VIZ_CUDA_GRAPH", "1")
    with pytest.warns(UserWarning, match="graph: the race computes on CPU, not on CUDA$"):
        assert list(race(config())) == plain
    monkeypatch.setenv("OLORA_VIZ_CUDA_GRAPH", "yes")
    with pytest.raises(ValueError, match="OLORA_VIZ_CUDA_GRAPH must be 0 or 1, not 'yes'"):
        race(config())


@pytest.mark.parametrize(
    ("lanes", "changes", "why"),
    [
        ((Lane("lora", dropout=0.1),), {}, "the masks of dropout"),
        ((Lane("full", lr=1e-4),), {}, "full fine-tuning"),
        (PAIR, {"accumulate": 2}, "a batch is computed in 2 parts"),
        (PAIR, {"gradients_every": 1}, "gradients are measured within every step"),
        (PAIR, {}, "the race computes on CPU"),
    ],
)
def test_what_cannot_be_captured_is_known_before(lanes: tuple[Lane, ...], changes: dict, why: str) -> None:
    model, _ = ov.load_model("glassllm")
    attached = ov.attach(model, list(lanes))
    assert obstacle(RaceConfig(lanes=lanes, **changes), attached).startswith(why)


def test_experts_and_hooks_of_others_are_not_captured() -> None:
    experts = ov.attach(mixture("mixtral"), list(PAIR), ["experts.down_proj"])
    assert obstacle(RaceConfig(lanes=PAIR), experts).startswith("how many tokens an expert reads")
    model, _ = ov.load_model("glassllm")
    attached = ov.attach(model, list(PAIR))
    hook = model.model.layers[1].register_forward_hook(lambda *_: None)
    assert obstacle(RaceConfig(lanes=PAIR), attached) == "the model has hooks of its own"
    hook.remove()
    assert "hooks" not in obstacle(RaceConfig(lanes=PAIR), attached)
