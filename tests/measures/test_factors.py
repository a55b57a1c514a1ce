"""Pictures of A and B: what is decoded from their texts is what the lanes hold, up to a level."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.races import small
from torch.nn.functional import adaptive_avg_pool2d

import olora_viz as ov
from olora_viz.background.record import RaceRecord
from olora_viz.lanes.lane import Lane
from olora_viz.measures import factors as pictures
from olora_viz.measures.factors import ALPHABET, LEVELS, MOST_SIDE, Factors, Inside, Picture
from olora_viz.races.race import Race, race
from olora_viz.races.step import DIVERGED

LANES = (
    Lane("lora", r=4),
    Lane("lora", r=4, lr=3e-3),
    Lane("olora", r=4),
    Lane("pissa", r=2),
    Lane("olora_unsubtracted", r=4),
)
CONFIG = small(LANES, steps=4, factors_every=2)


@pytest.fixture(scope="module")
def raced() -> tuple[Race, list[ov.Step], Inside]:
    racing = race(CONFIG)
    inside = pictures.inside(racing.lanes)
    return racing, list(racing), inside


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(-20, 20))
def test_a_picture_is_the_matrix_up_to_half_a_level(rows: int, columns: int, seed: int, power: float) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 10**power
    picture = Picture.of(matrix)
    assert (picture.rows, picture.columns, len(picture.text)) == (rows, columns, rows * columns)
    assert set(picture.text) <= set(ALPHABET)
    off = np.abs(picture.matrix - matrix.numpy()).max()
    assert off <= 0.501 * picture.scale / LEVELS + 5e-4 * picture.scale  # the scale has four digits
    assert Picture.of(torch.zeros(2, 3)).matrix.tolist() == [[0.0] * 3] * 2


def test_of_a_larger_matrix_each_number_is_the_mean_of_a_block_and_products_agree() -> None:
    B, A = torch.randn(512, 8), torch.randn(8, 384)
    for matrix in (B, A, B @ A):
        assert max(Picture.of(matrix).matrix.shape) == MOST_SIDE
    pooled = torch.nn.functional.avg_pool2d((B @ A)[None], (4, 3))[0].numpy()
    of_factors = Picture.of(B).matrix @ Picture.of(A).matrix
    assert np.linalg.norm(of_factors - pooled) < 0.06 * np.linalg.norm(pooled)


def test_what_is_learned_follows_from_the_start_and_the_moves(raced) -> None:
    racing, steps, inside = raced
    moved: Factors = steps[-1].factors
    # Of a start that is not subtracted nothing is kept from which its step 0 could be drawn.
    assert list(moved.of) == list(inside.start.of) == ["lora@lr=1e-3", "olora", "pissa"]
    for label, by in moved.of.items():
        for layer, now in by.items():
            start = inside.start.of[label][layer]
            A0, B0, A, B = start.A.matrix, start.B.matrix, now.A.matrix, now.B.matrix
            whole = racing.lanes.delta(layer, label).detach()
            delta = adaptive_avg_pool2d(whole[None], (len(B0), A0.shape[1]))[0].numpy()
            s = racing.lanes.lanes[racing.lanes.number(label)].scale
            drawn = s * (B0 @ A + B @ (A0 + A))
            assert np.linalg.norm(drawn - delta) < 0.1 * np.linalg.norm(delta), (label, layer)
            np.testing.assert_allclose(
                now.sigma, np.linalg.svd(whole.numpy())[1][: len(now.sigma)], rtol=1e-3, atol=1e-6
            )


def test_w_is_the_model_s_and_olora_starts_from_its_first_columns(raced) -> None:
    racing, _, inside = raced
    for layer, picture in inside.weights.items():
        W = racing.lanes.plan.weight(layer).detach()
        assert inside.shapes[layer] == tuple(W.shape)
        if max(W.shape) <= MOST_SIDE:
            assert np.abs(picture.matrix - W.numpy()).max() < picture.scale / LEVELS
            start = inside.start.of["olora"][layer]
            assert np.abs((start.B.matrix @ start.A.matrix - W.numpy())[:, :4]).max() < 0.1 * picture.scale
            assert not inside.start.of["lora@lr=1e-3"][layer].B.matrix.any()


def test_they_are_taken_when_due_change_nothing_and_are_read_back(raced) -> None:
    _, steps, inside = raced
    assert [step.step for step in steps if step.factors is not None] == [2, 4]
    plain = list(race(replace(CONFIG, factors_every=0)))
    assert [step.loss.tolist() for step in plain] == [step.loss.tolist() for step in steps]
    labels = CONFIG.labels
    for step in steps:
        assert ov.Step.from_json(json.loads(json.dumps(step.to_json(labels))), labels) == step
    assert Inside.from_json(json.loads(json.dumps(inside.to_json()))) == inside


def test_a_record_keeps_them_and_one_without_them_has_none(raced) -> None:
    record = RaceRecord.of(race(CONFIG))
    assert record.inside == raced[2]
    again = RaceRecord.from_json(json.loads(json.dumps(record.to_json())))
    assert again.inside == record.inside
    assert RaceRecord.of(race(replace(CONFIG, factors_every=0))).inside is None


def test_a_lane_without_factors_has_no_picture_and_one_that_has_diverged_that_of_its_last_update() -> None:
    lanes = (Lane("lora", lr=1e30, clip=1e30), Lane("olora"), Lane("full"))
    config = small(lanes, steps=3, factors_every=3)
    step = list(race(config))[-1]
    assert step.status[0] == DIVERGED
    assert list(step.factors.of) == list(config.labels[:2])


def test_few_numbers_are_taken_of_many_lanes_and_large_ranks() -> None:
    names = [f"layers.{block}.{kind}" for block in range(30) for kind in "abcdefg"]
    few = pictures.pictured_layers(names)
    assert (len(few), few[0], few[-1]) == (6, names[0], names[-1])
    assert pictures.pictured_layers(names, numbers=100_000) == [names[0], names[-1]]
    assert pictures.pictured_layers(names, numbers=10**9) == names[:1]
    assert len(pictures.pictured_lanes([Lane("lora", r=r) for r in range(1, 20)])) == 6


def test_bad_texts_are_refused() -> None:
    good = {"text": "ff", "scale": 1.0, "rows": 1, "columns": 2}
    values = {"lora": {"q": {"A": good, "B": good | {"rows": 2}, "sigma": []}}}
    with pytest.raises(ValueError, match="a letter for each number"):
        Factors.from_json(values, ("lora",))
    with pytest.raises(ValueError, match="lanes that are not there: lora"):
        Factors.from_json(values, ("olora",))
