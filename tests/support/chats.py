"""Tokenizers with chat templates, in the forms that models have."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n\n' + "
    "message['content'] | trim + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n\n' }}{% endif %}"
)
MISTRAL = (  # no generation prompt, a space before the answer, and no token before the user
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] + eos_token }}{% else %}{{ '[INST] ' + message['content'] + "
    "' [/INST]' }}{% endif %}{% endfor %}"
)
PHI = (  # it ends a conversation with the end of the text too
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% else %}{{ eos_token }}{% endif %}"
)
SPOKEN = {
    "chatml": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}{{ '<|im_start|>' + message['role'] + '\n' }}"
        "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}"
        "{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    ),
    "mistral": (
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}{% generation %}"
        "{{ ' ' + message['content'] + eos_token }}{% endgeneration %}{% else %}"
        "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% endif %}{% endfor %}"
    ),
}
"""The same as some of them, with marks around what the assistant says, which transformers finds again."""
TEMPLATES = {"chatml": CHATML, "llama": LLAMA, "mistral": MISTRAL, "phi": PHI}

PLAIN = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
"""One for any tokenizer with an end-of-text token."""


MERGES = (("h", "e"), ("Ġ", "a"), ("s", "o"))


def bytes_tokenizer(
    template: str | None = CHATML, *, merges: tuple[tuple[str, str], ...] = MERGES
) -> PreTrainedTokenizerFast:
    """Build a tokenizer with a token for each byte, a few merges, and special tokens."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces += ["".join(pair) for pair in merges]
    core = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [*merges]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    names = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
    core.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", chat_template=template)
