"""What the script with PEFT learns from with the objective ``reinforce``: rewards of answers that it draws."""

import zlib

import torch

import olora_viz as ov

from .with_peft import CONFIG, DEVICE, TASK, switch_on_dropout


# Objective
def reward(example, answer, metric):
    """Return what an answer is worth, from 0 to 1: the race's metric. Any function of the text will do."""
    return example.score(answer, metric)


def losses(model, tokenizer, lane):
    """Yield the loss of every step of REINFORCE, and report 1 − the mean reward, as the race does."""
    import copy

    # The reference is the lane before its first step: A and B are copies, and the frozen weights are shared. The model
    # with its adapter disabled is another one where the start is subtracted from W, as by OLoRA and PiSSA.
    reference = copy.deepcopy(model, {id(p): p for p in model.parameters() if not p.requires_grad}).eval()
    for step, batch in enumerate(ov.training_batches(CONFIG, tokenizer, lane, TASK, model), start=1):
        batch.to(DEVICE)
        generator = torch.Generator().manual_seed(zlib.crc32(f"{CONFIG.seed} {lane.seed} draw {step}".encode()))
        answers = drawn(model, batch, generator)
        texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
        examples = [example for example in batch["examples"] for _ in range(CONFIG.samples)]
        rewards = torch.tensor([reward(*pair, batch["metric"]) for pair in zip(examples, texts, strict=True)])
        yield policy_loss(model, reference, lane, batch, answers, rewards), 1 - rewards.mean()


def drawn(model, batch, generator):
    """Return answers in tokens, up to their ends: to each prompt as many as CONFIG.samples.

    The random numbers are those of the race, which draws the same answers, unless two tokens are as likely to be next
    up to rounding.
    """

    def noisy(_, logits):
        # The largest sum of logit and Gumbel noise is a draw from the softmax.
        return logits - torch.empty(logits.shape).exponential_(generator=generator).log().to(logits)

    prompts, read = (batch[key].repeat_interleave(CONFIG.samples, 0) for key in ("input_ids", "attention_mask"))
    model.eval()  # without dropout
    tokens = model.generate(
        input_ids=prompts, attention_mask=read, max_new_tokens=max(batch["lengths"]), logits_processor=[noisy],
        do_sample=False, num_beams=1, repetition_penalty=1.0, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    switch_on_dropout(model)
    answers = []
    for i, answer in enumerate(tokens[:, prompts.shape[1] :].tolist()):
        most = batch["lengths"][i // CONFIG.samples]
        answers.append(answer[: next((n for n, token in enumerate(answer, 1) if token in batch["ends"]), most)])
    return answers


def policy_loss(model, reference, lane, batch, answers, rewards):
    """Return the mean of −advantage × log-probability over answers, and add the KL to the reference."""
    rewards = rewards.view(-1, CONFIG.samples)
    advantages = rewards - rewards.mean(1, keepdim=True)
    if lane.advantage == "normalized":
        advantages = advantages / (rewards.std(1, keepdim=True) + 1e-4)
    rows, labels = answered(batch, answers)
    known = model(input_ids=rows).logits[:, :-1].float().log_softmax(-1)
    # 0 for labels of -100, which are not of an answer.
    lost = torch.nn.functional.nll_loss(known.transpose(1, 2), labels[:, 1:], reduction="none").sum(1)
    loss = (advantages.flatten().to(lost) * lost).mean()
    if lane.kl:
        with torch.no_grad():
            at_start = reference(input_ids=rows).logits[:, :-1].float().log_softmax(-1)
        kl = (known.exp() * (known - at_start)).sum(-1)
        loss = loss + lane.kl * kl[labels[:, 1:] != -100].mean()
    return loss


def answered(batch, answers):
    """Return prompts with their answers, padded at the right, and labels."""
    rows, labels = [], []
    for i, answer in enumerate(answers):
        ids, read = (batch[key][i // CONFIG.samples] for key in ("input_ids", "attention_mask"))
        prompt = ids[read == 1].tolist()
        rows.append(torch.tensor(prompt + answer))
        labels.append(torch.tensor([-100] * len(prompt) + answer))
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(rows, True).to(DEVICE), pad(labels, True, -100).to(DEVICE)


# End of objective
