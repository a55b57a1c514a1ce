"""Starts of ours in other people's training: PEFT's models, any trainer, and a plain loop over lanes."""

from functools import partial
from pathlib import Path

import peft
import pytest
import torch
import transformers
from support.pefts import logits
from support.races import small, steps_of
from support.tiny import tiny, tokens

import olora_viz as ov

LAYERS = {"llama": ["q_proj", "down_proj"], "gpt2": ["c_attn", "c_proj"]}
STARTS = [e.name for e in ov.INITIALIZERS.values() if e.keeps_function and not e.dense and not e.needs]


def adapted(family: str = "llama", dtype=torch.float64, **settings):
    transposed = {"fan_in_fan_out": family == "gpt2"}
    config = {"r": 4, "lora_alpha": 6, "target_modules": LAYERS[family]} | transposed | settings
    return peft.get_peft_model(tiny(family, dtype), peft.LoraConfig(**config)).eval()


@pytest.mark.parametrize("family", LAYERS)
@pytest.mark.parametrize("init", STARTS)
def test_every_start_keeps_the_function_and_what_is_trained_is_written_for_the_untouched_base(family, init, tmp_path):
    plain, model = logits(tiny(family, torch.float64)), adapted(family, use_rslora=True)
    started = ov.start_peft(model, init, seed=4)
    torch.testing.assert_close(logits(model), plain, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).to(
                    parameter
                )
    trained = logits(model)
    assert (trained - plain).abs().max() > 1e-3
    started.write(tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(tiny(family, torch.float64), tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(theirs), trained, rtol=1e-5, atol=1e-5)


def test_a_start_is_that_of_a_lane_and_keep_leaves_the_base():
    model = adapted()
    before = {name: W.clone() for name, W in model.named_parameters() if "base_layer" in name}
    ov.start_peft(model, "olora", residual="keep")
    assert all(torch.equal(W, before[name]) for name, W in model.named_parameters() if name in before)
    lanes = ov.attach(tiny("llama", torch.float64), [ov.Lane("olora", r=4, alpha=6)], LAYERS["llama"])
    for name in lanes.layers:
        layer, start = model.get_base_model().get_submodule(name), lanes.factors(name, "olora")
        torch.testing.assert_close(layer.lora_A["default"].weight, start.A)
        torch.testing.assert_close(layer.lora_B["default"].weight, start.B)


def test_what_cannot_be_started_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="unknown initialization 'olra'; did you mean 'olora'"):
        ov.start_peft(adapted(), "olra")
    with pytest.raises(ValueError, match="unknown residual 'subtrct'; did you mean 'subtract'"):
        ov.start_peft(adapted(), "olora", residual="subtrct")
    with pytest.raises(ValueError, match="no LoRA adapter 'default'"):
        ov.start_peft(tiny("llama"))
    with pytest.raises(ValueError, match="full has no A and B"):
        ov.start_peft(adapted(), "full")
    started = adapted()
    ov.start_peft(started, "milora")
    for model in (started, adapted(dtype=torch.float32, init_lora_weights="olora")):
        with pytest.raises(ValueError, match="which changed its base"):
            ov.start_peft(model)


def test_peft_refuses_to_put_an_adapter_of_a_changed_base_on_the_untouched_one(tmp_path: Path):
    model = adapted()
    ov.start_peft(model, "olora")
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="olora of olora_viz"):
        peft.PeftModel.from_pretrained(tiny("llama", torch.float64), tmp_path)


def test_the_trainer_of_transformers_trains_our_start(tmp_path: Path):
    model = adapted(dtype=torch.float32)
    started = ov.start_peft(model, "olora")
    rows = [{"input_ids": row, "labels": row} for row in tokens().repeat(4, 1)]
    settings = transformers.TrainingArguments(
        str(tmp_path / "trainer"), max_steps=3, per_device_train_batch_size=2, learning_rate=1e-2,
        report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = transformers.Trainer(model, settings, train_dataset=rows)
    trainer.train()
    history = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    trained = logits(model.eval())
    assert (trained - logits(tiny("llama"))).abs().max() > 1e-2, history
    theirs = peft.PeftModel.from_pretrained(tiny("llama"), started.write(tmp_path / "adapter")).eval()
    torch.testing.assert_close(logits(theirs), trained, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_trainer_that_does_not_clear_the_gradients_of_lanes_is_refused(tmp_path: Path, parts: int):
    model = tiny("llama", torch.float32)
    optimizer = torch.optim.AdamW(ov.attach(model, [ov.Lane("olora", r=2)]).parameter_groups())
    rows = [{"input_ids": row, "labels": row} for row in tokens().repeat(4, 1)]
    settings = transformers.TrainingArguments(
        str(tmp_path), max_steps=2, per_device_train_batch_size=1, gradient_accumulation_steps=parts,
        report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = transformers.Trainer(model, settings, train_dataset=rows, optimizers=(optimizer, None))
    with pytest.raises(ValueError, match=r"lane 'olora' was not cleared after a step.*Trainer.*ov\.start_peft"):
        trainer.train()
    assert trainer.state.global_step == 1


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_of_a_loop_add_up_until_they_are_cleared_each_lane_by_itself(to_none: bool):
    model = tiny("llama", torch.float64)
    lanes = ov.attach(model, [ov.Lane("olora", r=2), ov.Lane("lora", r=2)])
    rows = [group["params"][0] for group in lanes.parameter_groups()]
    first, second = (torch.optim.SGD([row], lr=1e-2) for row in rows)

    def gradients() -> list[torch.Tensor]:
        model(tokens().repeat(2, 1)).logits.square().mean().backward()
        return [row.grad.clone() for row in rows]

    once = gradients()
    for row, one, both in zip(rows, once, gradients(), strict=True):
        torch.testing.assert_close(both, 2 * one)
        assert row.grad.any()
    first.step()
    first.zero_grad(set_to_none=to_none)
    moved, added = gradients()
    assert not torch.allclose(moved, once[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(added, 3 * once[1], rtol=1e-6, atol=1e-12)  # a lane that has not moved goes on
    second.step()
    with pytest.raises(ValueError, match="the gradient of lane 'lora' was not cleared after a step"):
        gradients()


def test_a_plain_loop_over_lanes_trains_as_the_race_does(tmp_path: Path):
    lanes = (ov.Lane("lora", lr=3e-3, r=2), ov.Lane("olora", lr=1e-3, r=4))
    config = small(lanes, steps=3, dtype="float64")
    model, tokenizer = ov.load_model("glassllm", dtype=torch.float64)
    ours = ov.attach(model.eval(), lanes)
    optimizer = torch.optim.AdamW(ours.parameter_groups(), weight_decay=0.0)
    batches = list(ov.training_batches(config, tokenizer, model=model))
    for batch, step in zip(batches, steps_of(config), strict=True):
        optimizer.zero_grad()
        logits = model(input_ids=batch["input_ids"].repeat(2, 1), use_cache=False).logits
        labels = batch["labels"].repeat(2, 1)[:, 1:]
        each = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), reduction="none")
        loss = each.unflatten(0, (2, -1)).sum(1) / (batch["labels"][:, 1:] != -100).sum()
        loss.sum().backward()
        optimizer.step()
        torch.testing.assert_close(loss.detach(), torch.tensor(step.loss), rtol=1e-9, atol=0)
    ids = batches[0]["input_ids"]
    with torch.no_grad(), ours.only("olora"):
        alone = model(input_ids=ids).logits
    with torch.no_grad():
        torch.testing.assert_close(ours.merge("olora")(input_ids=ids).logits, alone, rtol=1e-9, atol=1e-9)
    ov.write_peft(ours, "olora", tmp_path / "mine")
    ours.detach()
    theirs = peft.PeftModel.from_pretrained(model, tmp_path / "mine").eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=ids).logits, alone, rtol=1e-5, atol=1e-4)


def test_gradients_of_several_passes_add_up_in_the_groups():
    lanes = ov.attach(tiny("llama", torch.float64), [ov.Lane("lora"), ov.Lane("olora")])
    rows = [group["params"][0] for group in lanes.parameter_groups()]
    run = partial(lanes.model, input_ids=tokens().repeat(2, 1), use_cache=False)
    for _ in range(2):
        run().logits.square().mean().backward()
    twice = torch.stack([row.grad for row in rows])
    for row in rows:
        row.grad = None
    run().logits.square().mean().backward()
    torch.testing.assert_close(twice, 2 * torch.stack([row.grad for row in rows]))
    assert all(row.data_ptr() == theta.data_ptr() for row, theta in zip(rows, lanes.theta, strict=True))
