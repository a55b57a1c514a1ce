"""What a race leaves to the next one on its model changes no bit of it."""

import pytest
import torch
from support.races import small

import olora_viz as ov
from olora_viz.initializers import start as factor
from olora_viz.races.data import ModelCache
from olora_viz.races.race import Race
from olora_viz.web import page
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs

LANES = (ov.Lane("pissa", r=4), ov.Lane("olora", r=4, seed=1), ov.Lane("lora", r=4))


def raced(config: ov.RaceConfig, cache: ModelCache | None) -> tuple[Race, list[ov.Step]]:
    racing = Race(config, cache=cache)
    steps = list(racing)
    racing.lanes.detach()
    return racing, steps


def test_a_race_after_another_one_is_bitwise_the_race_alone() -> None:
    cache, config = ModelCache(), small(LANES, steps=3, test_size=8)
    before, _ = raced(small((*LANES, ov.Lane("gaussian", lr=1e-2)), steps=4), cache)
    after, steps = raced(config, cache)
    alone, expected = raced(config, None)
    assert after.model is before.model
    assert alone.model is not after.model
    assert steps == expected
    assert torch.equal(after.lanes.start, alone.lanes.start)
    assert after.summary() | {"seconds": 0} == alone.summary() | {"seconds": 0}


def test_another_task_has_results_of_its_own() -> None:
    cache = ModelCache()
    first, _ = raced(small(LANES, steps=1, task="addition"), cache)
    second, _ = raced(small(LANES, steps=1, task="number-words"), cache)
    alone, _ = raced(small(LANES, steps=1, task="number-words"), None)
    assert second.baseline.loss == alone.baseline.loss != first.baseline.loss


def test_what_the_latest_races_did_not_use_is_forgotten() -> None:
    cache = ModelCache()
    assert [cache.get(key, lambda: 1) for key in "ab"] == [1, 1]
    cache.release()
    assert cache.get("a", lambda: 2) == 1
    cache.release()
    assert [cache.get(key, lambda: 3) for key in "ab"] == [1, 3]


def test_another_precision_is_another_model() -> None:
    cache = ModelCache()
    first, _ = raced(small(LANES, steps=1), cache)
    second, _ = raced(small(LANES, steps=1, dtype="float64"), cache)
    assert first.model is not second.model
    assert next(second.model.parameters()).dtype == torch.float64


def test_the_starts_of_one_weight_share_its_svd(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    svd = torch.linalg.svd
    monkeypatch.setattr(factor.torch.linalg, "svd", lambda W, **more: done.append(W) or svd(W, **more))
    W = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    first = ov.pissa(W, 2)
    ov.milora(W, 2)
    assert len(done) == 1
    W[0] *= 2
    changed = ov.pissa(W, 2)
    assert len(done) == 2
    assert not torch.equal(first.A, changed.A)
    assert torch.equal(changed.A, ov.pissa(W.clone(), 2).A)


def test_a_server_prepares_its_first_race_and_downloads_no_model_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    monkeypatch.setattr(Jobs, "prepare", lambda _, config: prepared.append(config.model))
    for models in (("gpt2",), ("smollm2-135m",), ("glassllm", "gpt2")):
        page.jobs_of(Limits(models=models)).close()
    assert prepared == ["glassllm"]
