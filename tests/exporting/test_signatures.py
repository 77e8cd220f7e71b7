"""What each signature answers, against Python."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from prompts import PROMPTS

import tfllm
from tfllm import tokenizers
from tfllm.exporting.contract import SETTINGS, contract_of
from tfllm.exporting.signatures import generation_functions
from tfllm.generation import GenerationConfig
from tfllm.generation.row_settings import same_for_all
from tfllm.generation.scoring import scores_of

ROWS = [
    GenerationConfig(max_new_tokens=12, seed=0),
    GenerationConfig(max_new_tokens=5, temperature=1.0, seed=7),
    GenerationConfig(max_new_tokens=9, temperature=0.7, top_k=20, frequency_penalty=0.5, presence_penalty=1.0, seed=8),
    GenerationConfig(max_new_tokens=11, temperature=1.3, top_p=0.8, min_p=0.02, seed=2**31 - 1),
    GenerationConfig(max_new_tokens=12, repetition_penalty=1.3, no_repeat_ngram_size=2, min_new_tokens=12, seed=1),
]


def ask(signature, name: str, **inputs):
    fields = contract_of("causal_lm").signatures[name].inputs
    return {k: v.numpy() for k, v in signature(**{k: tf.constant(v, fields[k].dtype) for k, v in inputs.items()}).items()}


def columns(configs) -> dict[str, list]:
    return {name: [getattr(config, name) for config in configs] for name in SETTINGS}


def test_serving_default_gives_pythons_greedy_text(greedy, served):
    found = ask(served["serving_default"], "serving_default", prompt=PROMPTS)
    expected = tfllm.generate(greedy.model, greedy.tokenizer, PROMPTS, greedy.config)
    assert found["text"].tolist() == [record.text.encode() for record in expected]
    assert len(set(found["text"].tolist())) == len(PROMPTS)


def test_serving_default_samples_where_the_config_says_so(sampling, served_sampling):
    found = ask(served_sampling["serving_default"], "serving_default", prompt=["a", "bc"])
    expected = tfllm.generate(sampling.model, sampling.tokenizer, ["a", "bc"], sampling.config)
    assert found["text"].tolist() == [record.text.encode() for record in expected]


def test_generate_takes_settings_by_row(greedy, served):
    found = ask(served["generate"], "generate", prompt=PROMPTS, **columns(ROWS))
    for i, (prompt, config) in enumerate(zip(PROMPTS, ROWS, strict=True)):
        [record] = tfllm.generate(greedy.model, greedy.tokenizer, prompt, config, stop=greedy.config.stop)
        count = found["num_tokens"][i]
        assert found["text"][i].decode() == record.text
        assert found["token_ids"][i, :count].tolist() == record.token_ids and not found["token_ids"][i, count:].any()
        np.testing.assert_allclose(found["log_probs"][i, :count], record.log_probs, atol=1e-4)
        assert not found["log_probs"][i, count:].any()
    assert found["token_ids"].shape[1] == found["num_tokens"].max()


def test_stop_strings_of_the_config_cut_the_text(greedy, served):
    """Some seed among these makes the model say one of the strings; all texts are free of them."""
    config = GenerationConfig(max_new_tokens=24, temperature=1.0)
    rows = [config.replace(seed=seed) for seed in range(64)]
    found = ask(served["generate"], "generate", prompt=["x"] * len(rows), **columns(rows))
    cut = 0
    for text, ids, count in zip(found["text"], found["token_ids"], found["num_tokens"], strict=True):
        whole = greedy.tokenizer.decode(ids[:count])
        at = min((whole.find(stop) for stop in greedy.config.stop if stop in whole), default=len(whole))
        assert text.decode() == whole[:at]
        cut += at < len(whole)
    assert cut > 0


def test_score_is_the_sum_over_the_whole_document(greedy, served):
    found = ask(served["score"], "score", text=PROMPTS)
    for i, text in enumerate(PROMPTS):
        ids = [1, *greedy.tokenizer.encode(text), 1]
        log_probs = tf.nn.log_softmax(greedy.model({"token_ids": tf.constant([ids[:-1]])}))[0].numpy()
        assert found["log_prob"][i] == pytest.approx(sum(log_probs[at, id] for at, id in enumerate(ids[1:])), rel=1e-4)
        assert found["num_tokens"][i] == len(ids) - 1
        assert found["num_bytes"][i] == len(text.encode())


def test_score_opens_a_text_as_generate_does():
    class Opened(tokenizers.ByteTokenizer):
        bos_id = 7

    model = tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=Opened.vocab_size, initializer_range=0.3))
    ids = [7, *Opened().encode("ab"), 1]
    log_probs = tf.nn.log_softmax(model({"token_ids": tf.constant([ids[:-1]])}))[0].numpy()
    expected = sum(log_probs[at, id] for at, id in enumerate(ids[1:]))
    assert scores_of(model, Opened(), tf.constant(["ab"])).log_prob.numpy()[0] == pytest.approx(expected, rel=1e-4)


def text_of(count: int, tokenizer) -> str:
    """Some text of exactly `count` tokens."""
    text = ""
    for i in range(10 * count):
        text += chr(97 + i * i % 26)
        if len(tokenizer.encode(text)) == count:
            return text
    raise AssertionError(count)


@pytest.mark.parametrize("count", [62, 63, 64, 95, 96, 200])
def test_score_of_texts_beyond_the_context(greedy, served, count):
    """The windows of the docstring, by a loop: 64 tokens, 32 further on each time; a short text beside changes nothing."""
    text = text_of(count, greedy.tokenizer)
    found = ask(served["score"], "score", text=[text, "ab"])
    ids = np.array([1, *greedy.tokenizer.encode(text), 1])
    total, counted, by_token = 0.0, 0, []
    for start in range(0, max(1, count + 1 - 32), 32):
        window = ids[start : start + 64][: count + 1 - start]
        log_probs = tf.nn.log_softmax(greedy.model({"token_ids": tf.constant(window[None])}))[0].numpy()
        for at in range(0 if start == 0 else 32, len(window)):
            by_token.append(log_probs[at, ids[start + at + 1]])
            total, counted = total + by_token[-1], counted + 1
    assert counted == count + 1 == found["num_tokens"][0]
    assert found["log_prob"][0] == pytest.approx(total, rel=1e-4)
    python = tfllm.score(greedy.model, greedy.tokenizer, [text, "ab"], per_token=True)
    for row, each in enumerate(python):
        assert (each.num_tokens, each.num_bytes) == (found["num_tokens"][row], found["num_bytes"][row])
        assert each.log_prob == pytest.approx(found["log_prob"][row], rel=1e-6)
    np.testing.assert_allclose(python[0].token_log_probs, by_token, atol=2e-5)
    assert python[0].token_ids == ids[1:].tolist() and python[0].text == text
    assert found["log_prob"][1] == pytest.approx(ask(served["score"], "score", text=["ab"])["log_prob"][0], rel=1e-5)


def test_tokenize_and_detokenize(greedy, served):
    found = ask(served["tokenize"], "tokenize", text=PROMPTS)
    rows = [ids[:count].tolist() for ids, count in zip(found["token_ids"], found["num_tokens"], strict=True)]
    assert rows == [greedy.tokenizer.encode(text) for text in PROMPTS]
    assert not any(ids[count:].any() for ids, count in zip(found["token_ids"], found["num_tokens"], strict=True))
    back = ask(served["detokenize"], "detokenize", **found)
    assert back["text"].tolist() == [text.encode() for text in PROMPTS]


@pytest.mark.parametrize("which", ["greedy", "sampling"])
def test_every_answer_is_utf8(which, request, served, served_sampling):
    """Ids of single bytes in any order; prompts that are no UTF-8."""
    export, signatures = request.getfixturevalue(which), served if which == "greedy" else served_sampling
    ids = np.random.default_rng(0).integers(0, 259, [40, 30])
    found = ask(signatures["detokenize"], "detokenize", token_ids=ids, num_tokens=[30] * 40)
    assert [text.decode() for text in found["text"]] == export.tokenizer.decode_batch(ids)
    for text in ask(signatures["serving_default"], "serving_default", prompt=[b"\xff\xfe", b"a\xe4\xb8"])["text"]:
        text.decode()


@pytest.mark.parametrize("lengths", [[3], [-1], [1, 1]])
def test_lengths_that_rows_do_not_have_are_refused(served, lengths):
    with pytest.raises(tf.errors.InvalidArgumentError, match="num_tokens is invalid: expected a value for each row of"):
        ask(served["detokenize"], "detokenize", token_ids=[[5, 6]], num_tokens=lengths)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(max_new_tokens=0), "max_new_tokens is invalid: expected an integer from 1 to 64 in each row"),
        (dict(max_new_tokens=2**31 - 1), "max_new_tokens is invalid: expected an integer from 1 to 64"),
        (dict(temperature=1e39), r"temperature is invalid: expected 0 or a number from 1e-09 to 1e\+09"),
        (dict(top_p=1e-46), "top_p is invalid: expected a number from 1e-09 to 1 "),
        (dict(temperature=-1.0), "temperature is invalid: expected 0 or a number from"),
        (dict(temperature=float("nan")), "temperature is invalid: expected 0 or a number from"),
        (dict(top_k=-1), "top_k is invalid: expected an integer from 0"),
        (dict(top_p=0.0), "top_p is invalid: expected a number from"),
        (dict(min_p=1.0), "min_p is invalid: expected a number of at least 0 and less than 1"),
        (dict(repetition_penalty=0.0), "repetition_penalty is invalid: expected a number from 1e-09 to"),
        (dict(frequency_penalty=float("inf")), "frequency_penalty is invalid: expected a number"),
        (dict(presence_penalty=float("nan")), "presence_penalty is invalid: expected a number"),
        (dict(no_repeat_ngram_size=-1), "no_repeat_ngram_size is invalid: expected an integer from 0"),
        (dict(min_new_tokens=-1), "min_new_tokens is invalid: expected an integer from 0"),
        (dict(min_new_tokens=13), "min_new_tokens is invalid: expected at most max_new_tokens"),
    ],
)
def test_a_setting_out_of_range_fails_the_request(served, change, message):
    settings = columns(ROWS[:1]) | {name: [value] for name, value in change.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        ask(served["generate"], "generate", prompt=["a"], **settings)


def test_a_config_may_ask_for_more_tokens_than_the_models_length():
    """A request may have as many as the config has, and no more."""
    tiny = {"num_layers": 1, "hidden_size": 8, "num_heads": 1, "num_kv_heads": 1, "ffn_size": 8, "max_length": 8}
    model = tfllm.CausalLM(tfllm.preset("llama-tiny", vocab_size=259, **tiny))
    generate = generation_functions(model, tokenizers.ByteTokenizer(), GenerationConfig(max_new_tokens=11), None)["generate"]
    found = generate(tf.constant(["a"]), max_new_tokens=tf.constant([11]), min_new_tokens=tf.constant([11]))
    assert found["num_tokens"].numpy()[0] >= 11
    with pytest.raises(tf.errors.InvalidArgumentError, match="max_new_tokens is invalid: expected an integer from 1 to 11"):
        generate(tf.constant(["a"]), max_new_tokens=tf.constant([12]), min_new_tokens=tf.constant([0]))


def test_a_setting_has_a_value_a_row(served):
    with pytest.raises(tf.errors.InvalidArgumentError, match="top_k is invalid: expected one value for each prompt"):
        ask(served["generate"], "generate", prompt=["a"], **columns(ROWS[:1]) | {"top_k": [1, 2]})
    with pytest.raises(tf.errors.InvalidArgumentError, match="min_new_tokens is invalid: expected one value for each prompt"):
        ask(served["generate"], "generate", prompt=["a", "b"], **columns(ROWS[:2]) | {"min_new_tokens": [0, 1, 2]})


def test_fresh_seeds_are_not_the_exporting_processs():
    """Seeds of 0 and 0 in the graph: each process that serves it draws its own."""
    keras.utils.set_random_seed(5)
    config = GenerationConfig(temperature=1.0)
    graph = tf.function(lambda rows: same_for_all(config, rows).seed).get_concrete_function(2).graph
    [op] = [op for op in graph.get_operations() if op.type.startswith("Random")]
    assert (op.get_attr("seed"), op.get_attr("seed2")) == (0, 0)


@pytest.mark.parametrize("name", ["serving_default", "generate"])
def test_no_prompt_at_all_fails_the_request(served, name):
    settings = columns([]) if name == "generate" else {}
    with pytest.raises(tf.errors.InvalidArgumentError, match="prompt is invalid: expected at least one text"):
        ask(served[name], name, prompt=[], **settings)


def test_prompts_and_ids_out_of_range_fail_the_request(served_sampling):
    with pytest.raises(tf.errors.InvalidArgumentError, match="prompt is invalid: expected at most 63 tokens"):
        ask(served_sampling["serving_default"], "serving_default", prompt=["x" * 64])
    assert ask(served_sampling["serving_default"], "serving_default", prompt=["x" * 63])["text"].tolist() == [b""]
    with pytest.raises(tf.errors.InvalidArgumentError, match="token_ids is invalid: expected integers from 0 to 258"):
        ask(served_sampling["detokenize"], "detokenize", token_ids=[[259]], num_tokens=[1])
