"""The starts from data are those of PEFT, from the same batches."""

import dataclasses
import importlib.util
import sys
import types

import peft
import pytest
import scipy.linalg
import torch
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.loraga import preprocess_loraga
from peft.utils.incremental_pca import IncrementalPCA
from support.starts import assert_close, every_shape, start, weight
from support.tiny import tiny, tokens

from olora_viz.lanes.adapters import attach
from olora_viz.lanes.calibration import gather
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import target_layers, weight_of
from olora_viz.tasks import Encoded, collate
from olora_viz.tasks.losses import lane_losses

ROWS = [Encoded(tuple(row), 5) for row in tokens(3, 12).tolist()]
BATCHES = [collate(ROWS[:2], 0), collate(ROWS[2:], 0)]


@every_shape
@pytest.mark.parametrize("r", [1, 6])
def test_eva_s_a_is_the_principal_components_of_peft(shape, r):
    """PEFT's own PCA, over three batches, with an exact SVD; the signs too."""
    X = weight((3 * shape[1], shape[1]), seed=5) + weight((1, shape[1]), seed=6)
    pca = IncrementalPCA(n_components=shape[1])
    for batch in X.clone().split(shape[1]):
        pca.partial_fit(batch)
    found = start("eva", weight(shape), r)
    assert_close(found.A, pca.components_[:r], 1e-8)
    assert not found.B.any()


TARGETS = ("q_proj", "k_proj", "up_proj", "down_proj")


def preprocess_corda(*given) -> None:
    """PEFT's; it imports attrs, which PEFT does not depend on, and takes one decorator of it."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("attr") is None:
            stand_in = types.ModuleType("attr")
            stand_in.dataclass = dataclasses.dataclass
            patch.setitem(sys.modules, "attr", stand_in)
        importlib.import_module("peft.tuners.lora.corda").preprocess_corda(*given)


def with_peft(model, init, r, alpha, **more):
    config = peft.LoraConfig(r=r, lora_alpha=alpha, target_modules=list(TARGETS), init_lora_weights=init, **more)
    if init == "lora_ga":

        def backward():
            for batch in BATCHES:
                lane_losses(model, batch, 1).sum().backward()

        preprocess_loraga(model, config, backward)
    if init == "corda":
        preprocess_corda(model, config, lambda: model(input_ids=BATCHES[1].input_ids))
    return peft.get_peft_model(model, config).base_model.model


def their_factors(model, name):
    layer = model.get_submodule(name)
    A, B = (getattr(layer, f"lora_{x}")["default"].weight.detach() for x in "AB")
    return A, B, weight_of(layer.base_layer)


def our_lanes(init, r, alpha, batches):
    """One lane; where q, k, up and down are all the layers that there are."""
    model = tiny("llama")
    needs = frozenset({"gradient", "inputs"})
    layers = target_layers(model, TARGETS)
    calibration = gather(model, layers, [[batch] for batch in batches], needs)
    return attach(model, [Lane(init, r=r, alpha=alpha)], TARGETS, calibration=calibration)


def test_lora_ga_is_peft_s_own_from_the_same_batches():
    """At r = 6 PEFT's randomized SVD is exact on these layers, of 16 to 40 features."""
    r, alpha = 6, 9
    lanes = our_lanes("lora_ga", r, alpha, BATCHES)
    theirs = with_peft(tiny("llama"), "lora_ga", r, alpha, lora_ga_config=peft.LoraGAConfig(direction="ArB2r"))
    for name in lanes.layers:
        ours = lanes.start_factors(name, 0)
        A, B, base = their_factors(theirs, name)
        assert B.norm() > 1e-3
        scale = B.abs().max().item()
        assert_close(ours.A.abs(), A.abs(), 2e-3)
        assert_close(ours.B.abs() / scale, B.abs() / scale, 2e-3)
        # Of vectors of different triplets, the signs are free: PEFT's as they fall.
        signs = (ours.A * A).sum(1).sign() * (ours.B * B).sum(0).sign()
        W = weight_of(lanes.model.get_submodule(name))
        assert_close(W - 1.5 * ours.B * signs @ ours.A, base, 1e-4)


@pytest.mark.parametrize(("init", "mode"), [("corda", "ipm"), ("corda_kpm", "kpm")])
def test_both_modes_of_corda_are_peft_s_own_from_the_same_tokens_but_for_the_unit_of_the_inputs(init, mode):
    """PEFT divides a batch by its largest entry and sums over tokens: a number for each layer."""
    r, alpha = 6, 9
    lanes = our_lanes(init, r, alpha, BATCHES[1:])
    theirs = with_peft(tiny("llama"), "corda", r, alpha, corda_config=CordaConfig(corda_method=mode))
    for name in lanes.layers:
        ours = lanes.start_factors(name, 0)
        A, B, base = their_factors(theirs, name)
        if mode == "kpm":  # PEFT's has the smallest last
            A, B = A.flip(0), B.flip(1)
        W = weight_of(lanes.model.get_submodule(name))
        assert_close(ours.B @ ours.A, B @ A, 1e-3)
        assert_close(W - 1.5 * ours.B @ ours.A, base, 1e-3)
        unit = (ours.B.norm() / B.norm()).item()
        assert_close(ours.B.abs(), unit * B.abs(), 2e-3)
        assert_close(ours.A.abs(), A.abs() / unit, 5e-3)


def test_mica_is_peft_s_own_with_its_columns_turned_round():
    lanes = our_lanes("mica", 6, 9, BATCHES)
    theirs = with_peft(tiny("llama"), "mica", 6, 9)
    for name in lanes.layers:
        ours = lanes.start_factors(name, 0)
        A, B, _ = their_factors(theirs, name)
        assert_close(ours.B.flip(1).abs(), B.abs(), 2e-4)
        assert torch.equal(ours.A, A)


def test_eva_spans_what_peft_s_own_does_from_the_same_tokens():
    """PEFT's PCA is randomized and stops early, hence angles, and a little less of the variance."""
    r = 4
    lanes = our_lanes("eva", r, 4, BATCHES[:1])
    base = tiny("llama")
    batches = [[batch] for batch in BATCHES[:1]]
    inputs = gather(base, target_layers(base, TARGETS), batches, frozenset({"inputs"}))
    config = peft.LoraConfig(
        r=r, lora_alpha=4, target_modules=list(TARGETS), init_lora_weights="eva",
        eva_config=peft.EvaConfig(rho=1.0, tau=0.999),
    )  # fmt: skip
    model = peft.get_peft_model(tiny("llama"), config)
    data = [{"input_ids": BATCHES[0].input_ids}]
    peft.initialize_lora_eva_weights(model, data, show_progress_bar=False)
    for name in lanes.layers:
        A, B, _ = their_factors(model.base_model.model, name)
        assert not B.any()
        ours = lanes.start_factors(name, 0).A
        assert scipy.linalg.subspace_angles(ours.T.numpy(), A.T.numpy()).max() < 0.15
        kept, theirs = (torch.trace(F @ inputs[name].covariance @ F.T) for F in (ours, A))
        assert 0.999 * kept < theirs < 1.00001 * kept
