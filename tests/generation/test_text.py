"""Strings in, strings out: records, stop strings, streaming, and what is refused."""

from functools import cache

import pytest
from scripted import script

import tfllm
from tfllm.generation import GenerationConfig
from tfllm.generation.inputs import tokenized
from tfllm.generation.text import _certain, _cut
from tfllm.tokenizers import ByteTokenizer

TOKENIZER = ByteTokenizer()
SAID = "one. two\n\nthree 中文 😀 end"


@cache
def speaker(text: str = SAID, prompt: str = "ab", *, eos: bool = True):
    """A model that says `text` after `prompt`, and closes the document."""
    ids = TOKENIZER.encode(text) + [1] * eos
    return script(TOKENIZER.vocab_size, ids, prompt_length=1 + len(TOKENIZER.encode(prompt)))


def test_a_record_says_everything():
    [record] = tfllm.generate(speaker(), TOKENIZER, "ab")
    assert (record.prompt, record.text, record.finish_reason) == ("ab", SAID, "eos")
    assert record.token_ids == [*TOKENIZER.encode(SAID), 1]
    assert record.num_tokens == len(record.token_ids) == len(record.log_probs)
    assert all(-1e-3 < value <= 0 for value in record.log_probs)


def test_budget_ends_in_the_middle_of_a_character():
    budget = len(b"one. two\n\nthree ") + 2
    [record] = tfllm.generate(speaker(), TOKENIZER, "ab", max_new_tokens=budget)
    assert (record.text, record.finish_reason) == ("one. two\n\nthree \ufffd", "length")


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("\n\n", "one. two"),
        ("文", "one. two\n\nthree 中"),
        (["three", ". t"], "one"),
        (["nowhere"], SAID),
        (["o"], ""),
        (["end!"], SAID),
    ],
)
def test_stop_strings_cut_the_text_and_end_the_row(stop, text):
    [record] = tfllm.generate(speaker(), TOKENIZER, "ab", stop=stop)
    assert record.text == text
    if text == SAID:
        assert record.finish_reason == "eos"
        return
    assert record.finish_reason == "stop"
    stopped = min((SAID.index(end), end) for end in ([stop] if isinstance(stop, str) else stop) if end in SAID)[1]
    through = SAID[: SAID.index(stopped) + len(stopped)]
    assert record.token_ids == TOKENIZER.encode(through), "the row ends with the token that completes the stop string"


def test_stop_strings_in_the_prompt_do_not_count():
    [record] = tfllm.generate(speaker("xyb"), TOKENIZER, "ab", stop=["ab", "bx"])
    assert record.text == "xyb"


def test_a_list_of_none_gives_none():
    assert tfllm.generate(speaker(), TOKENIZER, []) == []


def test_prompts_open_with_the_separator_and_are_padded_on_the_right(llama):
    """The rows of the docstring."""
    padded = tokenized(llama, TOKENIZER, ["ab", ""], [GenerationConfig(max_new_tokens=1)] * 2)
    assert padded.token_ids.numpy().tolist() == [[1, 100, 101], [1, 0, 0]]
    assert padded.lengths.numpy().tolist() == [3, 1]


@pytest.mark.parametrize(
    "settings",
    [
        dict(),
        dict(max_new_tokens=17),
        dict(max_new_tokens=18),
        dict(stop=["\n\n"]),
        dict(stop=["\n\nthrex", "ee "]),
        dict(stop=[" 中x", "文"]),
        dict(stop=["one"]),
    ],
)
def test_stream_gives_the_text_of_generate(settings):
    [record] = tfllm.generate(speaker(), TOKENIZER, "ab", **settings)
    pieces = list(tfllm.stream(speaker(), TOKENIZER, "ab", **settings))
    assert "".join(pieces) == record.text
    assert all(pieces) and len(pieces) <= 1 + record.num_tokens
    if record.finish_reason == "eos":
        assert len(pieces) > 3 and not any("\ufffd" in piece for piece in pieces)


def test_stream_equals_generate_on_ill_formed_text(llama):
    """A model with random weights says bytes that are no UTF-8."""
    for settings in (dict(), dict(temperature=1.5, seed=2), dict(temperature=1.5, seed=7, stop=["a", "9"])):
        [record] = tfllm.generate(llama, TOKENIZER, "é", max_new_tokens=30, **settings)
        assert "".join(tfllm.stream(llama, TOKENIZER, "é", max_new_tokens=30, **settings)) == record.text


def test_without_a_seed_each_call_draws_anew(llama):
    texts = {tfllm.generate(llama, TOKENIZER, "a", max_new_tokens=12, temperature=2.0)[0].text for _ in range(3)}
    assert len(texts) == 3


def test_without_a_seed_each_prompt_draws_for_itself(llama):
    records = tfllm.generate(llama, TOKENIZER, ["a"] * 3, max_new_tokens=12, temperature=2.0)
    assert len({record.text for record in records}) == 3


@pytest.mark.parametrize(
    ("text", "stop", "certain"),
    [("caf\ufffd", (), "caf"), ("one\n", ("\n\n",), "one"), ("one\n\nt", ("\n\n",), "one"), ("a sto", ("stop", "to!"), "a ")],
)
def test_what_is_certain(text, stop, certain):
    assert _certain(text, stop) == certain


def test_cut_is_before_the_first():
    assert _cut("one. two", (".", "two")) == "one"
    assert _cut("one", ()) == "one"


def test_another_models_tokenizer_is_refused():
    model = script(300, [5], prompt_length=1)
    with pytest.raises(ValueError, match="the tokenizer has 259 ids, the model's vocabulary 300"):
        tfllm.generate(model, TOKENIZER, "a")
    with pytest.raises(ValueError, match="not this model's"):
        tfllm.stream(model, TOKENIZER, "a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": 3}, "prompts=3 is invalid: expected a string or a list of strings"),
        ({"prompts": {"role": "user"}}, r"prompts={'role': 'user'} is invalid: expected a string or a list"),
        ({"prompts": ["a", None]}, r"prompts=\['a', None\] is invalid"),
        (
            {"config": {"max_new_tokens": 3}},
            r"config=\{'max_new_tokens': 3\} is invalid: expected a GenerationConfig. Give",
        ),
        ({"config": [GenerationConfig(), {}], "prompts": ["a", "b"]}, r"config=\{\} is invalid: expected a GenerationConfig"),
        (
            {"config": [GenerationConfig(penalty_alpha=0.6, top_k=k) for k in (4, 5)], "prompts": ["a", "b"]},
            "expected the same top_k for all prompts of a call",
        ),
    ],
)
def test_other_types_are_refused(arguments, message):
    given = {"model": speaker(), "tokenizer": TOKENIZER, "prompts": "a"}
    with pytest.raises(ValueError, match=message):
        tfllm.generate(**given | arguments)


def test_settings_of_draws_that_change_nothing_are_told():
    with pytest.warns(UserWarning, match="top_k=5 has no effect with temperature=0. Give temperature=1.0 to draw") as told:
        tfllm.generate(speaker(), TOKENIZER, ["a", "a"], [GenerationConfig(), GenerationConfig(top_k=5)])
    assert [each.filename for each in told] == [__file__]


def test_learned_positions_end_somewhere(model):
    if model.config.positions != "learned":
        assert tfllm.generate(model, TOKENIZER, "x" * 70, max_new_tokens=3)[0].num_tokens <= 3
        return
    message = r"max_new_tokens=30 is invalid: expected at most 23, .*=64 .* has 41 tokens.*give max_new_tokens=23 or less"
    for call in (tfllm.generate, tfllm.stream):
        with pytest.raises(ValueError, match=message):
            call(model, TOKENIZER, "x" * 40, max_new_tokens=30)
    assert tfllm.generate(model, TOKENIZER, "x" * 40, max_new_tokens=23)[0].num_tokens <= 23


def test_stream_is_one_prompt_once():
    with pytest.raises(ValueError, match=r"prompt=\['a'\] is invalid: expected one string. Use tfllm.generate"):
        tfllm.stream(speaker(), TOKENIZER, ["a"])
    with pytest.raises(ValueError, match="num_sequences=2 is invalid: expected 1 in a stream"):
        tfllm.stream(speaker(), TOKENIZER, "a", num_sequences=2, temperature=1.0)


def test_overrides_are_checked():
    with pytest.raises(ValueError, match="GenerationConfig has no top"):
        tfllm.generate(speaker(), TOKENIZER, "a", top=3)
