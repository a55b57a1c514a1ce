"""Curvature is what the dense Hessian says, for every family, every start, every lane alone."""

import json
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.starts import told
from support.tiny import FAMILIES, tiny, tokens

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane
from olora_viz.measures.conditioning import tangent_kernel, target_logits
from olora_viz.measures.curvature import curvature, gauss_newton, twice_differentiable

LANES = (Lane("lora", r=2), Lane("olora", r=3, alpha=6), Lane("pissa", r=1))
TARGETS = ("v_proj", "c_attn")
EXACT = {"steps": 400, "tolerance": 1e-10}


class Measured:
    """Lanes away from their start on a tiny model in float64, and what they compute."""

    def __init__(self, family="llama", lanes=LANES, dtype=torch.float64, moved=0.05, rows=2):
        self.model = tiny(family, dtype)
        endings = {n.rsplit(".", 1)[-1] for n, _ in self.model.named_modules()}
        targets = [t for t in TARGETS if t in endings]
        self.lanes = attach(self.model, lanes, targets, calibration=told(self.model))
        noise = torch.randn(self.lanes.theta.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            self.lanes.theta += moved * noise.to(dtype) * self.lanes.trained()
        self.ids = tokens(rows, 6)
        self.targets = self.ids[:, 1:].flatten()
        self.hessians = {}

    def logits(self):
        K = len(self.lanes.trained())
        z = self.model(input_ids=self.ids.repeat(K, 1)).logits[:, :-1]
        return z.reshape(K, -1, z.shape[-1])

    def losses(self):
        z = self.logits()
        flat = F.cross_entropy(z.flatten(0, 1), self.targets.repeat(len(z)), reduction="none")
        return flat.view(len(z), -1).mean(1)

    def outputs(self):
        return target_logits(self.logits(), self.targets)

    def _real(self, k):
        return self.lanes.trained()[k].nonzero()[:, 0]

    def hessian(self, k):
        """The dense Hessian of one lane, over the parameters that it has."""
        if k not in self.hessians:
            with twice_differentiable():
                loss = self.losses()[k]
                (g,) = torch.autograd.grad(loss, self.lanes.theta, create_graph=True)
                self.hessians[k] = self._gradients(g[k, self._real(k)], k)
        return self.hessians[k]

    def jacobian(self, k, f):
        return self._gradients(f[k].flatten(), k)

    def _gradients(self, values, k):
        """The gradients of values by one lane's parameters, a row each, in a single pass."""
        each = torch.eye(len(values), dtype=values.dtype)
        (rows,) = torch.autograd.grad(values, self.lanes.theta, each, retain_graph=True, is_grads_batched=True)
        return rows[:, k][:, self._real(k)].numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_both_ends_of_the_spectrum_are_those_of_the_dense_hessian(family):
    its = Measured(family)
    found = curvature(its.lanes, its.losses, probes=0, **EXACT)
    for k in range(len(LANES)):
        values = np.linalg.eigvalsh(its.hessian(k))
        np.testing.assert_allclose(found.lambda_max[k], values[-1], rtol=1e-8)
        np.testing.assert_allclose(found.lambda_min[k], values[0], rtol=1e-8)
    assert found.converged.all()
    assert np.isnan(found.trace).all()


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_hessian_at_the_start_of_every_initialization(name):
    its = Measured(lanes=(Lane(name, r=2, alpha=3),), moved=0.0)
    found = curvature(its.lanes, its.losses, probes=0, **EXACT)
    values = np.linalg.eigvalsh(its.hessian(0))
    np.testing.assert_allclose(found.lambda_max[0], values[-1], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found.lambda_min[0], values[0], rtol=1e-7, atol=1e-12)
    if INITIALIZERS[name].frozen_B:
        for layer in its.lanes.layers:
            columns = its.lanes.trained(layer)[0].sum()
            assert columns == math.prod(its.lanes.shapes(layer)[0]), "a frozen B is not trained"


def test_the_top_vector_is_an_eigenvector_and_the_residual_says_how_nearly():
    its = Measured()
    for steps in (4, 8, 60):
        found = curvature(its.lanes, its.losses, probes=0, steps=steps, tolerance=1e-12)
        assert (found.iterations <= steps).all()
        for k in range(len(LANES)):
            H, real = its.hessian(k), its.lanes.trained()[k]
            v = found.top[k][real].numpy()
            assert not found.top[k][~real].any(), "the padding of a rank took part"
            np.testing.assert_allclose(np.linalg.norm(v), 1.0, rtol=1e-9)
            residual = np.linalg.norm(H @ v - found.lambda_max[k] * v)
            np.testing.assert_allclose(residual, found.residual[k], rtol=1e-5, atol=1e-11)
            # Weyl: an eigenvalue of H lies within the residual.
            distance = np.abs(np.linalg.eigvalsh(H) - found.lambda_max[k]).min()
            assert distance <= found.residual[k] + 1e-10


def test_the_gauss_newton_matrix_is_jacobian_times_softmax_curvature_times_jacobian():
    its = Measured()
    found = gauss_newton(its.lanes, its.logits, probes=64, **EXACT)
    for k in range(len(LANES)):
        z = its.logits()
        n, V = z.shape[1:]
        J = its.jacobian(k, z)
        p = z[k].detach().softmax(-1).numpy()
        G = sum(
            J[i * V : (i + 1) * V].T
            @ (np.diag(p[i]) - np.outer(p[i], p[i]))
            @ J[i * V : (i + 1) * V]
            for i in range(n)
        ) / n  # fmt: skip
        values = np.linalg.eigvalsh(G)
        np.testing.assert_allclose(found.lambda_max[k], values[-1], rtol=1e-8)
        assert found.lambda_min[k] >= -1e-12
        assert abs(found.trace[k] - np.trace(G)) < 5 * found.trace_error[k]


def test_the_trace_is_within_its_error_and_the_error_shrinks_with_the_probes():
    its = Measured()
    few = curvature(its.lanes, its.losses, probes=8, steps=2)
    many = curvature(its.lanes, its.losses, probes=200, steps=2)
    for k in range(len(LANES)):
        assert abs(many.trace[k] - np.trace(its.hessian(k))) < 4 * many.trace_error[k]
    assert (many.trace_error < few.trace_error).all()


def test_one_layer_has_its_block_of_the_hessian():
    its = Measured()
    at = 0
    for layer in its.lanes.layers:
        found = curvature(its.lanes, its.losses, layer=layer, probes=0, **EXACT)
        size = sum(math.prod(shape) for shape in its.lanes.shapes(layer))
        for k in range(len(LANES)):
            real = its.lanes.trained()[k]
            inside = real.clone()
            inside[:at], inside[at + size :] = False, False
            block = its.hessian(k)[inside[real]][:, inside[real]]
            values = np.linalg.eigvalsh(block)
            np.testing.assert_allclose(found.lambda_max[k], values[-1], rtol=1e-8)
            np.testing.assert_allclose(found.lambda_min[k], values[0], rtol=1e-8)
        at += size
    assert at == its.lanes.theta.shape[1]


def test_a_lane_is_measured_as_it_is_alone():
    together = Measured(moved=0.0)
    found = curvature(together.lanes, together.losses, probes=4, **EXACT)
    with together.lanes.some(slice(1, 2)):
        some = curvature(together.lanes, together.losses, probes=4, **EXACT)
    for k, lane in enumerate(LANES):
        alone = Measured(lanes=(lane,), moved=0.0)
        one = curvature(alone.lanes, alone.losses, probes=4, **EXACT)
        for name in ("lambda_max", "lambda_min", "trace", "trace_error"):
            value = getattr(one, name)[0]
            np.testing.assert_allclose(getattr(found, name)[k], value, rtol=1e-7)
            if k == 1:
                np.testing.assert_allclose(getattr(some, name)[0], value, rtol=1e-7)


def test_float32_differs_from_float64_by_rounding_alone():
    single, double = (Measured(dtype=dtype) for dtype in (torch.float32, torch.float64))
    one = curvature(single.lanes, single.losses, probes=0)
    two = curvature(double.lanes, double.losses, probes=0)
    np.testing.assert_allclose(one.lambda_max, two.lambda_max, rtol=1e-4)
    np.testing.assert_allclose(one.lambda_min, two.lambda_min, rtol=1e-4)
    assert one.top.dtype == torch.float32
    assert two.top.dtype == torch.float64


def test_a_lane_that_is_not_finite_has_no_eigenvalues_and_touches_no_other():
    whole, broken = Measured(dtype=torch.float32), Measured(dtype=torch.float32)
    with torch.no_grad():
        broken.lanes.theta[1] = math.nan
    one = curvature(whole.lanes, whole.losses, probes=4)
    two = curvature(broken.lanes, broken.losses, probes=4)
    kernel = tangent_kernel(broken.lanes, broken.outputs)
    for name in ("lambda_max", "lambda_min", "trace", "residual", "residual_min"):
        assert math.isnan(getattr(two, name)[1])
        np.testing.assert_allclose(getattr(two, name)[[0, 2]], getattr(one, name)[[0, 2]])
    assert not two.converged[1]
    assert np.isnan(kernel.eigenvalues[1]).all()
    assert np.isfinite(kernel.eigenvalues[[0, 2]]).all()
    lines = two.to_json("abc")
    assert lines["b"]["lambda_max"] is None
    json.dumps(lines, allow_nan=False)
    assert type(two).from_json(lines, "abc") == two


def test_measuring_leaves_the_lanes_as_they_were():
    its = Measured(dtype=torch.float32)
    theta = its.lanes.theta.detach().clone()
    curvature(its.lanes, its.losses)
    gauss_newton(its.lanes, its.logits)
    tangent_kernel(its.lanes, its.outputs)
    assert torch.equal(its.lanes.theta.detach(), theta)
    assert its.lanes.theta.grad is None


def test_progress_is_told_after_every_product_and_may_stop():
    its = Measured()
    heard = []
    curvature(its.lanes, its.losses, steps=5, tolerance=0.0, probes=3, progress=lambda part, what: heard.append(part))
    # More often, if a product takes long.
    assert [part for part in dict.fromkeys(heard) if part] == [(i + 1) / 8 for i in range(8)]

    class StopError(Exception):
        pass

    def stop(part, what):
        raise StopError

    with pytest.raises(StopError):
        curvature(its.lanes, its.losses, progress=stop)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_a_long_product_is_stopped_between_its_layers(family, monkeypatch):
    """Every layer of a pass reports; what is computed does not change by it."""
    its = Measured(family)
    hooks = [dict(module._forward_hooks) for module in its.lanes.model.modules()]
    plain = curvature(its.lanes, its.losses, steps=2, probes=0)
    monkeypatch.setattr("olora_viz.measures.curvature.REPORT_EVERY", -1.0)
    heard = []
    found = curvature(its.lanes, its.losses, steps=2, probes=0, progress=lambda part, what: heard.append(part))
    np.testing.assert_array_equal(found.lambda_max, plain.lambda_max)
    within = heard.count(0.5)
    assert within > 3  # in the second product
    theta = its.lanes.theta.detach().clone()

    class StopError(Exception):
        pass

    def stop(part, what):
        heard.append(part)
        if heard.count(0.5) == 3:
            raise StopError

    heard.clear()
    with pytest.raises(StopError):
        curvature(its.lanes, its.losses, steps=2, probes=0, progress=stop)
    assert heard[-1] == 0.5
    assert torch.equal(its.lanes.theta.detach(), theta)
    assert [dict(module._forward_hooks) for module in its.lanes.model.modules()] == hooks


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_the_tangent_kernel_is_the_gram_matrix_of_the_gradients(family):
    its = Measured(family)
    found = tangent_kernel(its.lanes, its.outputs)
    for k in range(len(LANES)):
        J = its.jacobian(k, its.outputs())
        theta = J @ J.T
        np.testing.assert_allclose(found.matrix[k], theta, rtol=1e-9)
        values = np.linalg.eigvalsh(theta)[::-1]
        np.testing.assert_allclose(found.eigenvalues[k], values, rtol=1e-6, atol=1e-12 * values[0])
        np.testing.assert_allclose(found.condition[k], values[0] / values[-1], rtol=1e-4)


def test_the_same_example_twice_makes_a_kernel_that_cannot_be_inverted():
    its = Measured()
    its.ids = its.ids[:1].repeat(2, 1)
    its.targets = its.ids[:, 1:].flatten()
    assert np.isinf(tangent_kernel(its.lanes, its.outputs).condition).all()


def test_plain_loras_hessian_has_a_mirrored_spectrum_where_only_one_factor_moves():
    # With B = 0 the block of A is zero, so with G the gradient of W the Hessian is that of
    # ⟨G, BA⟩ plus the Gauss-Newton part of B: without the latter λ_min would be −λ_max.
    its = Measured(lanes=(Lane("lora", r=2),), moved=0.0)
    found = curvature(its.lanes, its.losses, probes=0, **EXACT)
    assert found.lambda_min[0] < 0 < found.lambda_max[0]
    assert found.lambda_max[0] >= -found.lambda_min[0]


@pytest.mark.parametrize("probes", [1, -2])
def test_too_few_probes_get_a_sentence(probes):
    its = Measured()
    with pytest.raises(ValueError, match=f"probes must be 0 or at least 2, not {probes}"):
        curvature(its.lanes, its.losses, probes=probes)


@pytest.mark.parametrize(
    ("measure", "returned", "words"),
    [
        (curvature, "losses", "losses must return (K) with K = 2 lanes, not ()"),
        (gauss_newton, "logits", "logits must return (K n V) with K = 2 lanes, not ()"),
        (tangent_kernel, "outputs", "outputs must return (K n) with K = 2 lanes, not ()"),
    ],
)
def test_a_function_that_returns_other_axes_or_no_graph_gets_a_sentence(measure, returned, words):
    its = Measured(lanes=(Lane("lora", r=2), Lane("olora", r=2)))
    whole = getattr(its, returned)
    with pytest.raises(ValueError, match=re.escape(words)):
        measure(its.lanes, lambda: whole().sum())
    with pytest.raises(ValueError, match="must return a tensor with its graph"):
        measure(its.lanes, lambda: whole().detach())
    with pytest.raises(ValueError, match=rf"expected a tensor .* from {returned}, not None"):
        measure(its.lanes, lambda: None)


@pytest.mark.parametrize("steps", [0, -1, 1.5, float("nan"), "3", True])
def test_a_number_of_products_that_is_none_gets_a_sentence(steps):
    its = Measured()
    with pytest.raises(ValueError, match="steps must be a whole number from 1"):
        curvature(its.lanes, its.losses, steps=steps)


def test_a_layer_without_an_adapter_gets_a_sentence():
    its = Measured()
    with pytest.raises(ValueError, match="no adapter on layer 'nowhere'; choose from "):
        curvature(its.lanes, its.losses, layer="nowhere")
