"""The model that is made here: glassllm after some steps on sentiment."""

import pytest
import torch

from olora_viz.lanes.lane import Lane
from olora_viz.models import load_model
from olora_viz.models.taught import TAUGHT, VERSION
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
from olora_viz.tasks.evaluation import likely

NAME = "glassllm-sentiment"


def weights_of(name):
    return load_model(name)[0].state_dict()


def test_it_is_made_once_and_read_bit_for_bit(monkeypatch, tmp_path):
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path))
    first = weights_of(NAME)
    (file,) = tmp_path.iterdir()
    written = file.read_bytes(), file.stat().st_mtime_ns
    second = weights_of(NAME)
    assert (file.read_bytes(), file.stat().st_mtime_ns) == written
    assert all(torch.equal(weight, second[key]) for key, weight in first.items())
    before = weights_of("glassllm")
    assert all(not torch.equal(weight, before[key]) for key, weight in first.items())


@pytest.mark.parametrize("found", [b"", b"no weights"])
def test_a_damaged_file_is_made_again(monkeypatch, tmp_path, found):
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path))
    (tmp_path / f"{NAME}-{VERSION}.safetensors").write_bytes(found)
    model, _ = load_model(NAME)
    assert model.name_or_path == NAME
    assert not any(weight.requires_grad for weight in model.parameters())


def test_a_cache_that_cannot_be_written_is_a_sentence(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match="cache folder"):
        load_model(NAME)


def test_its_right_answers_are_drawn_in_some_tries_and_not_in_all():
    racing = race(RaceConfig(model=NAME, task=TAUGHT[NAME], lanes=(Lane("lora"),), steps=1))
    sampled = likely(racing.baseline.example_loss, racing.data.deciding()).mean()
    assert 0.3 < sampled < 0.9
    assert racing.baseline.accuracy[0] > 0.7
