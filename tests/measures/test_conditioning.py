"""What is measured around the lanes of a race, by groups, on slices, and against a library."""

import copy
import json
import math
from functools import partial

import hessian_eigenthings as library
import numpy as np
import peft
import pytest
import torch
from support.races import small, steps_of
from support.tiny import exact_norms, tiny

from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import weight_of
from olora_viz.machine.devices import KINDS, DeviceKind
from olora_viz.measures import curvature as curvature_module
from olora_viz.measures.conditioning import (
    Conditioning,
    conditioning,
    directions,
    loss_slice,
    radius,
    slices,
    tangent_kernel,
    target_logits,
)
from olora_viz.measures.curvature import curvature, track, twice_differentiable
from olora_viz.models import load_model
from olora_viz.races.race import race
from olora_viz.tasks import losses

LANES = (Lane("lora", r=4), Lane("olora", r=4), Lane("mica", r=4))
config = partial(small, lanes=LANES, task="addition", targets=("layers.3.*",))
"""Races that adapt every kind of layer, but in the last block only: products go no deeper."""


@pytest.fixture(scope="module")
def racing():
    return race(config())


@pytest.fixture(scope="module")
def found(racing):
    return conditioning(racing.lanes, racing.batch(1))


def exact(*lanes):
    """A race whose model computes in float64 throughout, its norms as well."""
    model, tokenizer = load_model("glassllm", dtype=torch.float64)
    exact_norms(model)
    return race(config(lanes=lanes, dtype="float64"), model=model, tokenizer=tokenizer)


def as_peft(lanes, k):
    """A PEFT model that computes what lane k computes."""
    lane = lanes.lanes[k]
    its = peft.LoraConfig(r=lane.r, lora_alpha=lane.r, target_modules=list(lanes.layers))
    model = peft.get_peft_model(copy.deepcopy(lanes.model), its)
    with torch.no_grad():
        for name in lanes.layers:
            layer = model.base_model.model.get_submodule(name)
            start = lanes.start_factors(name, k)
            weight_of(layer.base_layer).sub_(start.B @ start.A)
            layer.lora_A["default"].weight.copy_(start.A)
            layer.lora_B["default"].weight.copy_(start.B)
    return model.eval()


def test_eigenvalues_are_those_that_a_public_library_finds_on_peft_models():
    racing = exact(*LANES[:2])
    batch, lanes = racing.batch(1), racing.lanes
    ours = curvature(lanes, lambda: losses.lane_losses(racing.model, batch, 2), steps=60, tolerance=1e-6)
    lanes.detach()
    for k in range(2):
        operator = library.HessianOperator(
            as_peft(lanes, k), [batch], lambda model, its: losses.lane_losses(model.base_model.model, its, 1)[0]
        )
        with twice_differentiable():
            for which, value in (("LA", ours.lambda_max[k]), ("SA", ours.lambda_min[k])):
                theirs = library.lanczos(operator, k=1, max_iter=60, which=which, seed=1)
                np.testing.assert_allclose(value, theirs.eigenvalues[0], rtol=1e-5)


def test_loss_and_gradient_are_those_of_the_races_first_step(racing, found):
    fresh = race(racing.config)
    step = next(fresh)
    np.testing.assert_allclose(found.loss, step.loss, rtol=1e-5)
    np.testing.assert_allclose(found.grad_norm, step.grad_norm, rtol=1e-4)


def test_lanes_in_groups_are_measured_as_they_are_together(racing, found, monkeypatch):
    monkeypatch.setitem(KINDS, "cpu", DeviceKind(curvature=1, dtype=torch.float32))
    apart = conditioning(racing.lanes, racing.batch(1))
    for name in ("lambda_max", "lambda_min", "trace"):
        for which in ("hessian", "gauss_newton"):
            one, other = (getattr(getattr(c, which), name) for c in (found, apart))
            np.testing.assert_allclose(one, other, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(found.kernel.eigenvalues, apart.kernel.eigenvalues, rtol=1e-3)


def test_progress_goes_from_nothing_to_all_and_never_back(racing):
    told = []
    conditioning(racing.lanes, racing.batch(1), progress=lambda part, what: told.append(part))
    assert told == sorted(told)
    assert told[0] < 0.1
    assert told[-1] == 1.0


def test_every_batchs_condition_is_that_of_a_measurement_on_it_alone(racing):
    batches = [racing.batch(number) for number in (1, 2, 3)]
    found = conditioning(racing.lanes, batches[0], more_batches=batches[1:])
    assert found.conditions.shape == (3, 3)
    for i, batch in enumerate(batches):
        alone = conditioning(racing.lanes, batch, with_gauss_newton=False, steps=1, probes=0)
        np.testing.assert_array_equal(found.conditions[:, i], alone.kernel.condition)
        np.testing.assert_array_equal(alone.conditions[:, 0], alone.kernel.condition)
    assert len(np.unique(found.conditions[0])) == 3
    for label, lane in found.to_json(racing.lanes.labels).items():
        values = found.conditions[racing.lanes.labels.index(label)]
        assert lane["ntk"]["conditions"] == list(values)
        assert lane["ntk"]["condition_median"] == sorted(values)[1]
        assert lane["ntk"]["condition_range"] == [min(values), max(values)]


def test_ten_times_the_outputs_is_a_scale_and_leaves_the_condition():
    racing = exact(*LANES[:2])
    batch = racing.batch(1)

    def of(factor):
        def outputs():
            return factor * target_logits(losses.supervised_logits(racing.model, batch, 2), batch.targets)

        def loss():
            return factor * losses.lane_losses(racing.model, batch, 2)

        search = {"steps": 60, "tolerance": 1e-6, "probes": 0}
        return tangent_kernel(racing.lanes, outputs), curvature(racing.lanes, loss, **search)

    (kernel, hessian), (scaled, steeper) = of(1.0), of(10.0)
    np.testing.assert_allclose(scaled.condition, kernel.condition, rtol=1e-8)
    np.testing.assert_allclose(scaled.eigenvalues, 100 * kernel.eigenvalues, rtol=1e-8)
    np.testing.assert_allclose(steeper.lambda_max, 10 * hessian.lambda_max, rtol=1e-5)


def test_too_little_memory_says_how_much_and_offers_a_layer(racing, monkeypatch):
    def refuse(needed, device, what):
        raise ValueError(f"{what} needs {needed / 1e9:.1f} GB of memory, but only 0.0 GB are free")

    monkeypatch.setattr(curvature_module, "check_memory", refuse)
    with pytest.raises(ValueError, match=r"needs .* GB .* use a smaller batch, or one layer, such"):
        conditioning(racing.lanes, racing.batch(1))
    with pytest.raises(ValueError, match=r"needs .* GB .* free: use a smaller batch$"):
        conditioning(racing.lanes, racing.batch(1), layer=racing.lanes.layers[0])


def test_one_layer_needs_less_memory_than_all(racing, monkeypatch):
    needed = []
    monkeypatch.setattr(curvature_module, "check_memory", lambda n, *_: needed.append(n))
    options = {"with_gauss_newton": False, "with_kernel": False, "steps": 2, "probes": 0}
    conditioning(racing.lanes, racing.batch(1), **options)
    conditioning(racing.lanes, racing.batch(1), layer=racing.lanes.layers[0], **options)
    assert needed[1] < needed[0]
    lanes, layer = racing.lanes, racing.lanes.layers[0]
    size = sum(rows * columns for rows, columns in lanes.shapes(layer))
    conditioning(lanes, racing.batch(1), layer=layer, **options | {"steps": 10**9})  # more than the basis can have
    assert needed[2] - needed[1] == (size - 2) * size * lanes.theta.element_size() * lanes.count


def test_a_line_of_json_has_the_agreed_keys(found, racing):
    lines = found.to_json(racing.lanes.labels)
    assert list(lines) == ["lora", "olora", "mica"]
    for line in lines.values():
        assert {"lambda_max", "lambda_min", "trace", "residual"} <= set(line)
        json.dumps(line, allow_nan=False)


# A look during a race -----------------------------------------------------------------------


def test_what_json_holds_of_a_measurement_is_read_back(found, racing):
    labels = racing.lanes.labels
    again = Conditioning.from_json(json.loads(json.dumps(found.to_json(labels))), labels)
    assert again.to_json(labels) == found.to_json(labels)
    assert again.hessian == found.hessian
    assert np.array_equal(again.conditions, found.conditions)
    assert np.isnan(again.kernel.matrix).all()


def test_looking_at_the_curvature_changes_nothing_of_the_race():
    plain = steps_of(config())
    looked = list(race(config(curvature_every=2)))
    assert [step.step for step in looked if step.curvature] == [2, 4]
    for one, other in zip(plain, looked, strict=True):
        np.testing.assert_array_equal(one.loss, other.loss)
        np.testing.assert_array_equal(one.grad_norm, other.grad_norm)
        back = type(other).from_json(other.to_json(config().labels), config().labels)
        assert back.curvature == other.curvature


def test_a_race_that_is_closed_in_a_look_stops_there_and_goes_on_with_it(monkeypatch):
    its = config(lanes=LANES[:1], curvature_every=1)
    racing = race(its)
    products = []
    whole = curvature_module.curvature

    def closing(*given, progress=None, **more):
        def tell(part, what):
            products.append(part)
            racing.close()
            progress(part, what)

        # Without a callback it is the measurement of its memory.
        return whole(*given, progress=progress and tell, **more)

    monkeypatch.setattr(curvature_module, "curvature", closing)
    steps = list(racing)
    assert len(products) == 1, "the look went on after the race was closed"
    assert steps == []
    assert racing.status == "stopped"
    monkeypatch.undo()
    again = race(its)
    again.restore(racing.snapshot())
    assert list(again) == list(race(its))


def test_a_rough_look_finds_what_a_careful_one_does():
    racing = race(small(LANES))
    rough = track(racing.lanes, racing.batch(1))
    careful = conditioning(racing.lanes, racing.batch(1), with_gauss_newton=False, with_kernel=False, probes=0)
    np.testing.assert_allclose(rough.lambda_max, careful.hessian.lambda_max, rtol=0.02)
    assert rough.top is None


# Slices -------------------------------------------------------------------------------------


def test_slices_share_their_axes_and_pass_through_where_the_lane_stands(racing, found):
    theta = racing.lanes.theta.detach().clone()
    one, other = slices(racing.lanes, racing.batch(1), found, [0, 1], side=5)
    assert torch.equal(racing.lanes.theta.detach(), theta), "the lanes were moved"
    np.testing.assert_array_equal(one.across, other.across)
    np.testing.assert_array_equal(one.along, one.across)
    for k, its in ((0, one), (1, other)):
        assert its.lane == k
        np.testing.assert_allclose(its.loss[2, 2], found.loss[k], rtol=1e-5)
        assert its.loss[3, 2] > its.loss[1, 2], "uphill is where the gradient points"
    assert np.ptp(other.loss) > np.ptp(one.loss), "OLoRA's is the steeper one"


def test_a_slice_bends_along_the_eigenvector_as_the_eigenvalue_says():
    racing = exact(Lane("olora", r=4))
    found = conditioning(
        racing.lanes, racing.batch(1), with_gauss_newton=False, with_kernel=False, steps=60, tolerance=1e-6
    )
    loss = lambda: losses.lane_losses(racing.model, racing.batch(1), 1)  # noqa: E731
    (gradient,) = torch.autograd.grad(loss().sum(), racing.lanes.parts())
    across, along = directions(gradient[0], found.hessian.top[0])
    assert abs(float(across @ along)) < 1e-10
    h = 1e-3
    its = loss_slice(racing.lanes, 0, loss, across, along, h, side=3)
    bend = (its.loss[1, 0] - 2 * its.loss[1, 1] + its.loss[1, 2]) / h**2
    np.testing.assert_allclose(bend, found.hessian.lambda_max[0], rtol=1e-4)
    slope = (its.loss[2, 1] - its.loss[0, 1]) / (2 * h)
    np.testing.assert_allclose(slope, float(gradient[0] @ along), rtol=1e-4)


def test_a_lane_that_is_not_finite_cannot_be_sliced():
    lanes = attach(tiny("llama"), LANES[:2])
    racing = race(config(lanes=LANES[:2]))
    with torch.no_grad():
        racing.lanes.theta[1] = math.nan
    broken = conditioning(racing.lanes, racing.batch(1), with_gauss_newton=False, steps=4)
    assert np.isnan(broken.hessian.lambda_max[1])
    assert np.isfinite(broken.hessian.lambda_max[0])
    with pytest.raises(ValueError, match="'olora' or its curvature is not finite"):
        slices(racing.lanes, racing.batch(1), broken, [0, 1])
    with pytest.raises(ValueError, match="side must be an odd number from 3, not 4"):
        loss_slice(lanes, 0, lambda: None, lanes.theta[0], lanes.theta[0], 1.0, side=4)


def test_a_distance_is_where_a_parabola_or_a_slope_has_risen_by_the_loss():
    assert radius(2.0, curvature=4.0, slope=0.0) == 1.0
    assert radius(2.0, curvature=0.0, slope=4.0) == 0.5
    assert radius(2.0, curvature=4.0, slope=4.0) == 0.5
    with pytest.raises(ValueError, match="give no extent"):
        radius(1.0, curvature=-1.0, slope=0.0)
