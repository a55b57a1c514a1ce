"""What the script with PEFT learns from with the objective ``dpo``: preferences."""

import torch

import olora_viz as ov

from .with_peft import CONFIG, DEVICE, TASK


# Objective
def losses(model, tokenizer, lane):
    """Yield the loss of every step of direct preference optimization (Rafailov et al. 2023), and report it."""
    import copy

    # The reference is the lane before its first step: A and B are copies, and the frozen weights are shared. The model
    # with its adapter disabled is another one where the start is subtracted from W, as by OLoRA and PiSSA.
    reference = copy.deepcopy(model, {id(p): p for p in model.parameters() if not p.requires_grad}).eval()
    for batch in ov.training_batches(CONFIG, tokenizer, lane, TASK, model):
        batch.to(DEVICE)
        with torch.no_grad():
            before = preferences(reference, batch)
        margins = preferences(model, batch) - before
        loss = -torch.nn.functional.logsigmoid(lane.beta * margins).mean()
        yield loss, loss


def preferences(model, batch):
    """Return by how much each chosen answer is likelier than the rejected one in the next row, in nats."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1].float()
    # 0 for labels of -100, which are not of an answer.
    lost = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch["labels"][:, 1:], reduction="none")
    chosen, rejected = -lost.sum(1).view(-1, 2).T
    return chosen - rejected


# End of objective
