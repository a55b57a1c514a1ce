"""What is recorded of gradients is what torch says of every lane, layer and factor."""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from support.races import small, steps_of
from support.steps import measuring, without
from support.tiny import FAMILIES, tiny, tokens

from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import weight_of
from olora_viz.machine.devices import KINDS, DeviceKind
from olora_viz.measures.gradients import QUANTITIES, GradientRecorder, Gradients, lane_norms, segment_norms
from olora_viz.races import run as runs
from olora_viz.races.race import race
from olora_viz.races.step import Step

LANES = (Lane("lora", lr=1e-3, r=4, alpha=8), Lane("olora", lr=1e-3, r=2), Lane("pissa", lr=1e-3, r=6, alpha=3))
MIXED = (Lane("lora", lr=3e-3, r=4, clip=0.1), Lane("olora", lr=1e-3, r=2), Lane("pissa", r=6))


config = partial(small, lanes=MIXED)


def losses_of(model, ids, K):
    """Return each lane's next-token loss, with its graph."""
    logits = model(input_ids=ids.repeat(K, 1), use_cache=False).logits[:, :-1]
    flat = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.repeat(K, 1)[:, 1:].flatten(), reduction="none")
    return flat.unflatten(0, (K, -1)).mean(1)


def recorded(lanes, ids, *, groups=(slice(0, 3),), by=1e-3) -> Gradients:
    """Record one step whose update is plain gradient descent."""
    recorder = GradientRecorder(lanes)
    for rows in groups:
        with lanes.some(rows), recorder.inputs(rows):
            losses_of(lanes.model, ids, rows.stop - rows.start).sum().backward()
    recorder.before_update()
    with torch.no_grad():
        lanes.theta -= by * lanes.theta.grad
    return recorder.after_update()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_norm_is_torchs_norm_of_that_factor(family):
    lanes = attach(tiny(family, torch.float64), LANES)
    before = lanes.theta.detach().clone()
    found = recorded(lanes, tokens())
    assert found.layers == lanes.layers
    for k in range(3):
        for i, layer in enumerate(lanes.layers):
            gradient, now = lanes.gradient(layer, k), lanes.factors(layer, k)
            then = lanes._trimmed(before, layer, k)
            for j, name in enumerate("AB"):
                G, X, X0 = (getattr(f, name).double() for f in (gradient, now, then))
                for values, matrix in ((found.gradient, G), (found.parameter, X0), (found.update, X - X0)):
                    norm = float(torch.linalg.matrix_norm(matrix))
                    np.testing.assert_allclose(values[k, i, j], norm, rtol=1e-10)
    parameter = found.parameter[0]
    assert (parameter[:, 1] == 0).all()
    assert np.isinf(found.ratio[0, :, 1]).all()
    np.testing.assert_allclose(found.ratio[1:], found.update[1:] / found.parameter[1:])


def dense_input_gradients(family, lanes, k, ids) -> list[float]:
    """Return ‖∂L/∂X‖ of every layer from a plain model with lane k merged in, by autograd.grad.

    No hook takes part: every linear layer is replaced by a function that keeps its input.
    """
    merged = lanes.merge(k)
    given: dict[str, torch.Tensor] = {}
    for name in lanes.layers:
        layer = merged.get_submodule(name)

        def forward(X, name=name, layer=layer):
            given[name] = X if X.requires_grad else None
            return torch.nn.functional.linear(X, weight_of(layer), layer.bias)

        layer.forward = forward
    # Where the lanes have adapters, the dense weights train, so that both graphs begin alike.
    for name in lanes.layers:
        merged.get_submodule(name).weight.requires_grad_()
    loss = losses_of(merged, ids, 1).sum()
    wanted = [X for X in given.values() if X is not None]
    grads = iter(torch.autograd.grad(loss, wanted))
    return [math.nan if X is None else float(next(grads).norm()) for X in given.values()]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_at_an_input_is_that_of_the_dense_model(family):
    lanes = attach(tiny(family, torch.float64), LANES)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(3)
        noise = torch.randn(lanes.theta.shape, dtype=torch.float64, generator=generator)
        lanes.theta += 0.01 * noise * (lanes.theta != 0)
    found = recorded(lanes, tokens(), by=0.0)
    for k in range(3):
        wanted = dense_input_gradients(family, lanes, k, tokens())
        np.testing.assert_allclose(found.input[k], wanted, rtol=1e-9)
    blind = np.isnan(found.input[0])
    assert blind[0]
    assert not blind[len(blind) // 2 :].any()


def test_layers_that_share_an_input_share_its_gradient():
    lanes = attach(tiny("llama", torch.float64), LANES)
    found = recorded(lanes, tokens())
    by_name = dict(zip(lanes.layers, found.input.T, strict=True))
    block = "model.layers.1"
    q, k, v = (by_name[f"{block}.self_attn.{name}_proj"] for name in "qkv")
    np.testing.assert_array_equal(q, k)
    np.testing.assert_array_equal(q, v)
    gate, up = (by_name[f"{block}.mlp.{name}_proj"] for name in ("gate", "up"))
    np.testing.assert_array_equal(gate, up)
    assert (q != gate).all()


def test_lanes_that_go_through_in_groups_are_recorded_as_together():
    together = recorded(attach(tiny("gpt2", torch.float64), LANES), tokens())
    groups = (slice(0, 1), slice(1, 3))
    apart = recorded(attach(tiny("gpt2", torch.float64), LANES), tokens(), groups=groups)
    for name in (*QUANTITIES, "input"):
        np.testing.assert_allclose(getattr(apart, name), getattr(together, name), rtol=1e-9)


def test_nothing_stays_on_the_model_after_a_look():
    lanes = attach(tiny("llama"), LANES)
    recorded(lanes, tokens())
    with pytest.raises(RuntimeError), GradientRecorder(lanes).inputs(slice(0, 3)):
        raise RuntimeError
    layers = [lanes.model.get_submodule(name) for name in lanes.layers]
    assert not any(layer._forward_pre_hooks for layer in layers)


@pytest.mark.parametrize("repeats", [1, 3])
def test_segments_are_measured_whatever_their_pattern(repeats):
    sizes = [5, 2, 7] * repeats
    X = torch.randn(4, sum(sizes))
    Y = torch.randn(4, sum(sizes))
    parts = torch.stack([part.norm(dim=1) for part in (X - Y).split(sizes, dim=1)], dim=1)
    torch.testing.assert_close(segment_norms(X, sizes, minus=Y), parts)
    torch.testing.assert_close(segment_norms(X, sizes), segment_norms(X.double(), sizes).float())
    assert segment_norms(X.double(), sizes).dtype == torch.float64


def test_a_lanes_norm_over_bfloat16_activations_is_summed_in_float32():
    G = torch.randn(6, 50, 40).bfloat16()
    wanted = [float(part.double().norm()) for part in G.split(2)]
    np.testing.assert_allclose(lane_norms(G, 3).numpy(), wanted, rtol=1e-5)


def test_parameters_too_large_to_be_squared_still_have_norms():
    lanes = attach(tiny("llama"), LANES)
    with torch.no_grad():
        lanes.theta[1] *= 1e25
    losses_of(lanes.model, tokens(), 3)
    lanes.theta.grad = torch.zeros_like(lanes.theta)
    recorder = GradientRecorder(lanes)
    recorder.before_update()
    with torch.no_grad():
        lanes.theta[1] *= 2
    found = recorder.after_update()
    assert (found.parameter[1] > 1e24).all()
    np.testing.assert_allclose(found.ratio[1], 1.0, rtol=1e-6)


def test_recording_changes_nothing_of_a_race():
    plain, found = list(race(config())), steps_of(config(gradients_every=2))
    assert [step.step for step in found if step.gradients] == [1, 2, 4]
    assert [without(step, "gradients") for step in found] == plain
    again = list(race(config(gradients_every=2)))
    assert again == found
    other = measuring(found[1], gradients=found[3].gradients)
    assert other != found[1]


def test_the_norms_of_a_race_are_those_before_clipping_and_add_up():
    for step in race(config(gradients_every=1, dtype="float64")):
        assert step.gradients is not None
        total = np.sqrt((step.gradients.gradient**2).sum((1, 2)))
        np.testing.assert_allclose(total, step.grad_norm, rtol=1e-9)
    assert total[0] > 0.1


def test_the_first_update_of_adam_is_the_rate_in_every_entry():
    step = next(race(config(lanes=(Lane("olora", lr=1e-3, r=4),), gradients_every=1)))
    assert step.gradients is not None
    running = race(config(lanes=(Lane("olora", lr=1e-3, r=4),)))
    for i, layer in enumerate(running.lanes.layers):
        start = running.lanes.start_factors(layer, 0)
        for j, X in enumerate((start.A, start.B)):
            wanted = 1e-3 * math.sqrt(X.numel())
            np.testing.assert_allclose(step.gradients.update[0, i, j], wanted, rtol=2e-2)
            norm = float(X.double().norm())
            np.testing.assert_allclose(step.gradients.parameter[0, i, j], norm, rtol=1e-6)


def test_a_lane_that_has_diverged_holds_nan_and_the_others_their_norms():
    wild = (MIXED[0], Lane("olora", lr=1e30))
    steps = list(race(config(lanes=wild, gradients_every=1)))
    last = steps[-1].gradients
    assert steps[-1].status == ("racing", "diverged")
    assert last is not None
    for name in (*QUANTITIES, "input"):
        assert np.isnan(getattr(last, name)[1]).all()
    assert np.isfinite(last.gradient[0]).all()


def test_a_race_in_groups_records_what_a_race_together_records(monkeypatch):
    together = list(race(config(gradients_every=1, dtype="float64")))
    monkeypatch.setitem(KINDS, "cpu", DeviceKind(lanes=1, dtype=torch.float32))
    apart = list(race(config(gradients_every=1, dtype="float64")))
    for one, other in zip(together, apart, strict=True):
        assert one.gradients is not None
        assert other.gradients is not None
        np.testing.assert_allclose(one.gradients.input, other.gradients.input, rtol=1e-8)


def test_a_step_with_gradients_goes_through_json_with_four_digits():
    labels = config().labels
    step = next(race(config(gradients_every=1)))
    line = json.loads(json.dumps(step.to_json(labels), allow_nan=False))
    back = Step.from_json(line, labels)
    assert step.gradients is not None
    assert back.gradients is not None
    assert back.gradients.layers == step.gradients.layers
    for name in (*QUANTITIES, "input"):
        wanted = getattr(step.gradients, name)
        np.testing.assert_allclose(getattr(back.gradients, name), wanted, rtol=1e-3)
    # The first block's q, k and v read the embedding, through which no gradient flows.
    assert line["gradients"]["lanes"]["olora"]["input"][:3] == [None] * 3


def test_a_run_keeps_the_norms_and_goes_on_with_them_after_a_stop(tmp_path):
    whole = steps_of(config(gradients_every=2))
    steps = iter(runs.start(config(gradients_every=2), tmp_path))
    for _ in range(3):
        next(steps)
    steps.close()
    assert list(runs.resume_run(tmp_path)) == whole[3:]
    kept = runs.read_steps(tmp_path)
    assert [step.gradients is not None for step in kept] == [True, True, False, True]
