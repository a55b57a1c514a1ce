"""Update spectra agree with the dense matrices, for every lane and layer."""

import json
import math

import numpy as np
import pytest
import scipy.linalg
import torch
from support.starts import KEPT, told
from support.tiny import FAMILIES, tiny

from olora_viz.initializers import Start
from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane
from olora_viz.measures.update_spectra import PARTS, UpdateSpectra, update_spectra

LANES = tuple(
    Lane(init, lr=1e-3, r=r, alpha=alpha)
    for (init, r, alpha) in (("lora", 4, 8), ("olora", 2, 2), ("pissa", 6, 3), ("olora", 4, 4))
)


def moved(lanes, by=0.05):
    noise = torch.randn(lanes.theta.shape, dtype=lanes.theta.dtype, generator=torch.Generator().manual_seed(5))
    for k in range(lanes.count):
        for layer in lanes.layers:
            now = lanes.factors(layer, k)
            A = now.A + by * noise[k, : now.A.numel()].reshape(now.A.shape)
            B = now.B + by * noise[k, -now.B.numel() :].reshape(now.B.shape)
            lanes.put(layer, k, Start(A, B))


@pytest.mark.parametrize("family", FAMILIES)
def test_update_spectra_agree_with_the_dense_matrices(family):
    lanes = attach(tiny(family, torch.float64), LANES)
    moved(lanes)
    found = update_spectra(lanes)
    assert found.sigma.shape == (4, len(lanes.layers), 12)
    for i, layer in enumerate(lanes.layers):
        for k in range(4):
            dense = scipy.linalg.svdvals(lanes.delta(layer, k).numpy())
            count = min(len(dense), 12)
            np.testing.assert_allclose(found.sigma[k, i, :count], dense[:count], atol=1e-10)
            np.testing.assert_allclose(found.norm[k, i], np.linalg.norm(dense), rtol=1e-9)
            p = dense / dense.sum()
            entropy = -(p[p > 0] * np.log(p[p > 0])).sum()
            np.testing.assert_allclose(found.effective_rank[k, i], math.exp(entropy), rtol=1e-6)
            now, start = lanes.factors(layer, k), lanes.start_factors(layer, k)
            B, A = now.B.numpy(), now.A.numpy()
            error = np.linalg.norm(B.T @ B - np.eye(B.shape[1]))
            np.testing.assert_allclose(found.orthogonality_error[k, i], error, rtol=1e-9)
            np.testing.assert_allclose(found.condition_A[k, i], np.linalg.cond(A), rtol=1e-6)
            np.testing.assert_allclose(found.condition_B[k, i], np.linalg.cond(B), rtol=1e-6)
            if start.B.any():
                angle = np.rad2deg(scipy.linalg.subspace_angles(B, start.B.numpy())).max()
                np.testing.assert_allclose(found.max_principal_angle[k, i], angle, rtol=1e-6)
            else:
                assert math.isnan(found.max_principal_angle[k, i])


@pytest.mark.parametrize("name", KEPT)
def test_at_the_start_nothing_has_moved(name):
    model = tiny("llama")
    lanes = attach(model, [Lane(name, r=4)], calibration=told(model))
    found = update_spectra(lanes)
    assert (found.sigma == 0).all()
    assert (found.norm == 0).all()
    assert (found.effective_rank == 0).all()
    if lanes.start_factors(lanes.layers[0], 0).B.any():
        assert (found.max_principal_angle < 0.1).all()
    if name in ("olora", "olora_pivoted", "random_orthonormal", "sketch"):
        assert (found.orthogonality_error < 1e-5).all()
        np.testing.assert_allclose(found.condition_B, 1.0, rtol=1e-5)


def test_a_lane_has_the_spectra_that_it_has_alone():
    lanes = attach(tiny("llama", torch.float64), LANES)
    moved(lanes)
    found = update_spectra(lanes)
    for k in range(4):
        alone = attach(tiny("llama", torch.float64), [LANES[k]])
        for layer in alone.layers:
            alone.put(layer, 0, lanes.factors(layer, k))
        for name in PARTS:
            np.testing.assert_allclose(getattr(update_spectra(alone), name)[0], getattr(found, name)[k], rtol=1e-8)


def test_update_spectra_go_through_json_with_four_digits():
    lanes = attach(tiny("gpt2"), LANES)
    moved(lanes)
    found = update_spectra(lanes)
    line = json.loads(json.dumps(found.to_json(lanes.labels), allow_nan=False))
    back = UpdateSpectra.from_json(line, lanes.labels)
    assert back.layers == found.layers
    for name in ("sigma", *PARTS):
        np.testing.assert_allclose(getattr(back, name), getattr(found, name), rtol=1e-3)
    assert found == update_spectra(lanes)
    assert found != back
