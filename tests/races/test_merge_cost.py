"""What a merge costs: the merged models are PEFT's, and their results those of a calculation by hand."""

import gc
import json
import math
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
import torch.nn.functional as F
from support.mixtures import EXPERTS, MIXED, mixture
from support.races import raced, small
from support.tiny import tiny, tiny_tokenizer
from support.verbs import run

import olora_viz as ov
from olora_viz.lanes.adapters import Lanes
from olora_viz.machine.files import read_tensors
from olora_viz.machine.four_bit import BLOCK, NF4, nf4
from olora_viz.races.merge_cost import FORMS, FOUR_BITS, FormResults, MergeCost

ROWS = [{"prompt": f"{a}{b}", "answer": f" {b}{a}"} for a in "abcdefgh" for b in "klmnop"]
EVERY = (
    *(ov.Lane(init) if init == "full" else ov.Lane(init, r=2, alpha=6) for init in ov.INITIALIZERS),
    ov.Lane("olora", r=3, alpha=2, rslora=True, label="rslora"),
)
DTYPES = {name: dtype for name, dtype in FORMS.items() if name != FOUR_BITS}
SET_UP = small((ov.Lane("olora", lr=3e-3), ov.Lane("pissa", lr=3e-3)), steps=6, test_size=12)


def on(family: str) -> ov.Race:
    """Return a finished race of every start on a tiny model, or on the experts of a mixture."""
    experts = family == "mixtral"
    lanes, model = (MIXED, mixture(family)) if experts else (EVERY, tiny(family))
    tokenizer = tiny_tokenizer(pad_token="<pad>", eos_token="</s>")
    config = small(lanes, steps=2, targets=EXPERTS if experts else None)
    race = ov.race(config, model=model, tokenizer=tokenizer, task=ROWS)
    list(race)
    return race


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_merged_in_float32_every_adapter_is_what_it_is_beside_the_base(family):
    race = on(family)
    before, theta = {name: W.clone() for name, W in race.model.state_dict().items()}, race.lanes.theta.detach().clone()
    for label in race.lanes.labels:
        cost = ov.merge_cost(race, label)
        merged, beside = cost.merged["float32"], cost.beside
        assert merged.loss == pytest.approx(beside.loss, abs=1e-5), label
        assert (merged.accuracy, beside.drift) == (beside.accuracy, 0.0), label
        assert merged.drift < 1e-6 < cost.merged[FOUR_BITS].drift, label
        assert (cost.part, cost.examples) == ("test", 4)
    assert all(torch.equal(W, before[name]) for name, W in race.model.state_dict().items())
    assert torch.equal(race.lanes.theta, theta)


@pytest.mark.parametrize("form", DTYPES)
def test_the_merged_weights_are_those_of_peft(form, tmp_path):
    """PEFT adds ΔW to a base that is stored in the dtype: ours is that base in float32."""
    dtype = DTYPES[form]
    base, _ = ov.load_model("glassllm", dtype=dtype)
    own, tokenizer = ov.load_model("glassllm")
    own.load_state_dict(base.state_dict())
    race = ov.race(SET_UP, model=own, tokenizer=tokenizer)
    list(race)
    adapter = ov.write_peft(race.lanes, 0, tmp_path / "a")
    theirs = peft.PeftModel.from_pretrained(base, adapter).merge_and_unload().state_dict()
    merged = race.lanes.merge(0, dtype)
    differing, weights = 0, 0
    for name, W in merged.state_dict().items():
        assert W.dtype == theirs[name].dtype == dtype
        differing, weights = differing + int((theirs[name] != W).sum()), weights + W.numel()
        if dtype == torch.float32:
            torch.testing.assert_close(W, theirs[name], rtol=1e-6, atol=1e-6)
        else:  # a unit in the last place, where ΔW ends on a border
            torch.testing.assert_close(W, theirs[name], rtol=torch.finfo(dtype).eps, atol=1e-7)
    assert dtype == torch.float32 or differing < 1e-3 * weights
    assert {p.dtype for p in race.model.parameters()} == {torch.float32}


def test_loss_accuracy_and_drift_are_those_of_a_calculation_by_hand(tmp_path):
    race, _ = raced(SET_UP)
    cost = ov.merge_cost(race, "pissa", most=7)
    adapter = ov.write_peft(race.lanes, "pissa", tmp_path / "a")
    whole = peft.PeftModel.from_pretrained(ov.load_model("glassllm")[0], adapter).merge_and_unload()
    forms = {"base": ov.load_model("glassllm")[0], "beside": whole}
    forms |= {name: _rounded(whole, lambda W, dtype=dtype: W.to(dtype).float()) for name, dtype in DTYPES.items()}
    lasts = {name: [] for name in forms}
    for name, model in forms.items():
        for example in race.data.test[:7]:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([example.ids[:-1]])).logits[0, example.supervised_from - 1 :]
            lasts[name].append((logits.log_softmax(-1), torch.tensor(example.ids[example.supervised_from :])))
    for name, of_form in lasts.items():
        found = {"base": cost.base, "beside": cost.beside}.get(name) or cost.merged[name]
        losses = torch.cat([F.nll_loss(p, ids, reduction="none") for p, ids in of_form])
        assert found.loss == pytest.approx(losses.mean().item(), abs=1e-5), name
        right = [bool((p.argmax(-1) == ids).all()) for p, ids in of_form]
        assert found.accuracy == pytest.approx(sum(right) / 7), name
        pairs = zip(lasts["beside"], of_form, strict=True)
        drifts = torch.cat([(p.exp() * (p - q)).sum(-1) for (p, _), (q, _) in pairs])
        assert found.drift == pytest.approx(drifts.mean().item(), rel=1e-2, abs=1e-6), name


def _rounded(model, by):
    other, _ = ov.load_model("glassllm")
    other.load_state_dict({name: by(W) for name, W in model.state_dict().items()})
    return other


def test_a_narrow_race_is_compared_in_its_forms_own_dtypes():
    config = replace(SET_UP, dtype="bfloat16", steps=2)
    race, _ = raced(config)
    cost = ov.merge_cost(race, 0, most=4)
    assert cost.computed_in == "its own dtype"
    assert all(math.isfinite(each.loss) and each.drift < 0.1 for each in cost.merged.values())


def test_four_bits_are_the_nearest_of_the_values_of_bitsandbytes():
    stored = read_tensors(Path(__file__).parents[1] / "data/four_bit.safetensors")  # made by version 0.50.2
    values = stored["nf4.quant_map"]
    assert torch.equal(torch.tensor(NF4), values)
    W = torch.randn(5, 70, generator=torch.manual_seed(0))
    W[0] = 0.0
    flat, rounded = W.flatten(), nf4(W).flatten()
    for at in range(0, len(flat), BLOCK):
        block = flat[at : at + BLOCK]
        grid = values * block.abs().max()
        nearest = (block[:, None] - grid).abs().min(1).values
        torch.testing.assert_close((block - rounded[at : at + BLOCK]).abs(), nearest)
        assert rounded[at : at + BLOCK].unique().numel() <= len(NF4)
    assert torch.equal(nf4(nf4(W)), nf4(W))
    assert nf4(W.bfloat16()).dtype == torch.bfloat16


def test_one_merged_model_is_in_memory_at_a_time_and_none_afterwards(monkeypatch):
    race, _ = raced(SET_UP)

    def models() -> int:
        return sum(type(each) is type(race.model) for each in gc.get_objects())

    gc.collect()
    before, at_merges, merge = models(), [], Lanes.merge

    def counted(self, *given):
        at_merges.append(models() - before)
        return merge(self, *given)

    monkeypatch.setattr(Lanes, "merge", counted)
    ov.merge_cost(race, 0, most=2)
    assert at_merges == [0] * len(FORMS)
    assert models() == before


def test_before_the_end_the_test_is_not_looked_at_and_a_diverged_lane_is_refused():
    race = ov.race(small((ov.Lane("lora", r=2), ov.Lane("lora", r=2, lr=1e30, label="lost")), steps=4))
    next(race), next(race)
    cost = ov.merge_cost(race, 0)
    assert (cost.part, cost.examples) == ("held-out", 4)
    with pytest.raises(ValueError, match=r"lane 'lost' diverged at step \d: it cannot be merged"):
        ov.merge_cost(race, "lost")
    with pytest.raises(ValueError, match="number of examples must be a whole number from 1"):
        ov.merge_cost(race, 0, most=0)
    list(race)
    assert race.status == "finished"


def test_the_sentence_says_what_to_do():
    def cost(base: float, **losses: float) -> MergeCost:
        merged = {form: FormResults(loss, 0.5, 0.01) for form, loss in losses.items()}
        return MergeCost(
            "lora", "test", 64, "float32", FormResults(base, 0.1, 2.0), FormResults(0.4, 0.9, 0.0), merged
        )

    assert cost(2.4, float32=0.4, bfloat16=0.41).sentence == (
        "Merging costs nothing that matters in float32 and bfloat16: the test loss, 0.4000 beside the base, moves by "
        "0.01 at most."
    )
    assert cost(2.4, float32=0.4, bfloat16=0.5).sentence == (
        "Merging into bfloat16 changes the test loss from 0.4000 to 0.5000 and the accuracy from 90.0% to 50.0%: keep "
        "the adapter beside the base, or merge it into float32."
    )
    assert cost(2.4, float32=0.4, bfloat16=0.4, nf4=0.5).sentence.endswith("or merge it into float32 or bfloat16.")
    lost = cost(2.4, float16=math.nan)
    assert lost.sentence.endswith(
        "from 0.4000 to nan and the accuracy from 90.0% to 50.0%: keep the adapter beside the base."
    )
    assert lost.rows[-1] == ["merged, float16", "–", "50.0%", "0.01"]
    assert json.loads(json.dumps(lost.to_json(), allow_nan=False))["merged"]["float16"]["loss"] is None
    assert cost(0.4, float32=0.4).sentence == (
        "The adapter's test loss, 0.4000, is not below the base model's, 0.4000: it has nothing that a merge could "
        "cost."
    )


def test_export_prints_what_a_merge_costs(tmp_path):
    race, _ = raced(SET_UP)
    race.save(tmp_path / "run")
    export = ("export", str(tmp_path / "run"), "--lane", "olora", "--check", "--out")
    wanted = ov.merge_cost(race, "olora")
    answer = json.loads(run(*export, str(tmp_path / "a"), "--json").stdout)
    assert answer["merge"] == json.loads(json.dumps(wanted.to_json()))
    shown = run(*export, str(tmp_path / "b")).stdout
    assert all(cell in shown for row in wanted.rows for cell in row)
    assert wanted.sentence in shown
    refused = run("export", str(tmp_path / "a"), "--form", "merged", "--check", "--out", str(tmp_path / "c"))
    assert (refused.returncode, "--check is for run folders" in refused.stderr) == (2, True)
