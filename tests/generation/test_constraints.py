"""Choices, expressions and JSON: what is said is always allowed, everything allowed can be said, on every way of decoding."""

import json
import re
from functools import cache

import numpy as np
import pytest
import tensorflow as tf
from scripted import fixed

import tfllm
from tfllm import tokenizers
from tfllm.generation import GenerationConfig
from tfllm.generation.automata import Automaton, automaton_of, of_choices, of_pattern, pattern_of
from tfllm.generation.constraints import allowed_tokens, next_states
from tfllm.generation.shared_settings import shared_settings_of
from tfllm.tokenizers import ByteTokenizer

BYTES = ByteTokenizer()
CORPUS = [f'def f{i}(self):\n    return {{"value": {i}, "name": "naïve 中文", "yes": true}}\n' for i in range(400)]
TREE = Automaton([0, 1, 3, 4, 5], [100, 101, 102, 1, 1], [1, 2, 3, 2, 3])


@pytest.fixture(scope="module", params=["bytes", "sentencepiece", "byte_bpe"])
def tokenizer(request):
    if request.param == "bytes":
        return BYTES
    if request.param == "sentencepiece":
        return tokenizers.train(texts=CORPUS, vocab_size=400, progress=False)
    return tokenizers.ByteBPETokenizer.trained(CORPUS, 400, progress=False)


def walks(automaton: Automaton, ids: list[int]) -> bool:
    """Does the automaton take these tokens, in plain Python?"""
    at = 0
    for token in ids:
        edges = range(automaton.row_splits[at], automaton.row_splits[at + 1])
        found = [automaton.next[edge] for edge in edges if automaton.ids[edge] == token]
        if not found:
            return False
        at = found[0]
    return True


def test_choices_are_the_tree_of_the_docstring():
    found = of_choices(["ab", "ac"], BYTES)
    assert [each.tolist() for each in found] == [list(each) for each in TREE]


def test_the_graph_looks_the_table_up():
    tensors = Automaton(*map(tf.constant, TREE))
    masks = allowed_tokens(tensors, tf.constant([1, 0, 3, 1]), 259).numpy()
    assert [np.flatnonzero(mask).tolist() for mask in masks] == [[101, 102], [100], [1], [101, 102]]
    behind = next_states(tensors, tf.constant([1, 0, 2, 1]), tf.constant([102, 100, 1, 0]))
    assert behind.numpy().tolist() == [3, 1, 2, 0], "a token that is not allowed leads to the first state"


def test_surfaces_joined_are_the_text(tokenizer):
    surfaces = tokenizer.token_byte_strings()
    for text in (CORPUS[3], "", " naïve\t\u2581 中文 😀\r\n", "<0x0A></s>"):
        assert b"".join(surfaces[id] for id in tokenizer.encode(text)).decode() == text
    assert len(surfaces) == tokenizer.vocab_size and [len(each) for each in surfaces] == tokenizer.token_bytes().tolist()


PATTERNS = [r"(yes|no), (a|b){2,3}", r"[0-9]{1,4}(\.[0-9]+)?", r"né[a-z 中]*!", r"a*", r"a|a*b|.{2}", "[^a]{0,6}"]
FEW = [r"a\$"]
PATTERNS += [r"^a|[0-9]{2}$", *FEW]  # what stands at both ends of an expression is left out, a dollar sign is not


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_expressions_table_takes_what_matches(tokenizer, pattern):
    """As the tokenizer spells it and byte by byte; and nothing that does not match."""
    automaton = of_pattern(pattern, tokenizer)
    texts = [
        "yes, ab",
        "no, bab",
        "yes, a",
        "yes ab",
        "12",
        "12.5",
        "12.",
        "12345",
        "né!",
        "né ab中!",
        "ne!",
        "",
        "aaaa",
        "b",
        "a",
        "a$",
    ]
    singles = {surface: id for id, surface in reversed(list(enumerate(tokenizer.token_byte_strings()))) if len(surface) == 1}
    for text in texts:
        expected = re.fullmatch(pattern, text) is not None
        assert walks(automaton, [*tokenizer.encode(text), tokenizer.eos_id]) == expected, text
        assert walks(automaton, [singles[bytes([byte])] for byte in text.encode()] + [tokenizer.eos_id]) == expected, text


@cache
def uniform(tokenizer):
    """A model to which all tokens are alike: nothing but the constraint makes its text."""
    return fixed(np.zeros(tokenizer.vocab_size))


def test_what_is_drawn_matches(tokenizer):
    config = GenerationConfig(max_new_tokens=40, temperature=1.0, num_sequences=40, seed=0)
    for pattern in PATTERNS:
        records = tfllm.generate(uniform(tokenizer), tokenizer, ["x", "né"], config, regex=pattern)
        ended = [record.text for record in records if record.finish_reason == "eos"]
        assert all(re.fullmatch(pattern, text) for text in ended), pattern
        assert len(ended) > 20 and (len(set(ended)) > 3 or pattern in FEW)


def test_choices_have_the_models_odds():
    """Behind "a" three in four go on to "ab", whatever else the model would rather say."""
    scores = np.log(np.full(259, 1e-3))
    scores[[100, 101, 102, 120]] = np.log([0.1, 0.3, 0.1, 0.5])
    config = GenerationConfig(temperature=1.0, num_sequences=4000, seed=0, max_new_tokens=3)
    said = [record.text for record in tfllm.generate(fixed(scores), BYTES, "x", config, choices=["ab", "ac"])]
    assert set(said) == {"ab", "ac"}
    assert said.count("ab") / 4000 == pytest.approx(0.75, abs=0.025)


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 4}, "age": {"type": "integer"}, "sex": {"enum": ["f", "m"]}},
    "required": ["name", "age", "sex"],
}


def test_json_of_a_schema(llama):
    config = GenerationConfig(max_new_tokens=80, temperature=1.0, num_sequences=8, seed=1, json_schema=SCHEMA)
    records = tfllm.generate(llama, BYTES, ["x", "{"], config)
    ended = [record.text for record in records if record.finish_reason == "eos"]
    assert len(ended) > 8
    for text in ended:
        assert set(json.loads(text)) == {"name", "age", "sex"} and json.loads(text)["sex"] in ("f", "m")
    assert GenerationConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "settings",
    [
        dict(),
        dict(num_beams=6, num_sequences=3),
        pytest.param(dict(num_beams=6, num_beam_groups=2, diversity_penalty=1.0, num_sequences=3), marks=pytest.mark.slow),
        dict(penalty_alpha=0.6, top_k=4),
        dict(no_repeat_ngram_size=1, min_new_tokens=20, bad_words=["no", "a"], repetition_penalty=1.5),
    ],
    ids=["greedy", "beams", "groups", "contrast", "forbidden"],
)
def test_every_way_keeps_to_the_choices(llama, settings):
    """Where penalties would forbid all that is left, the choices hold."""
    choices = ["no", "nobody", "aa", "abba", "中"]
    records = tfllm.generate(llama, BYTES, ["hello", ""], max_new_tokens=20, choices=choices, **settings)
    assert all(record.text in choices and record.finish_reason == "eos" for record in records)
    if settings.get("num_sequences"):
        # Two groups may find one text.
        assert len({record.text for record in records[:3]}) >= (2 if "num_beam_groups" in settings else 3)


def test_beams_beyond_the_choices_are_empty(llama):
    records = tfllm.generate(llama, BYTES, "x", max_new_tokens=9, choices=["b", "c"], num_beams=4, num_sequences=4)
    assert {record.text for record in records[:2]} == {"b", "c"}
    assert [(record.text, record.score) for record in records[2:]] == [("", float("-inf"))] * 2


def test_stream_equals_generate(llama):
    for settings in (dict(choices=["one", "other"]), dict(regex="[a-f]{3,20}", temperature=1.0, seed=3)):
        [record] = tfllm.generate(llama, BYTES, "é", max_new_tokens=30, **settings)
        assert "".join(tfllm.stream(llama, BYTES, "é", max_new_tokens=30, **settings)) == record.text


def test_other_choices_need_no_other_graph(llama):
    from tfllm.generation import tracing

    tracing._TRACED.pop(llama, None)
    for choices in (["a"], ["b", "cde"], ["中"]):
        assert tfllm.generate(llama, BYTES, "x", max_new_tokens=9, choices=choices)[0].text in choices
    [functions] = tracing._TRACED[llama].values()
    assert functions.decode.experimental_get_tracing_count() == 1


def test_what_cannot_be_followed_is_said():
    with pytest.raises(ValueError, match=r"regex='\(' is invalid: .*without \^ and \$ inside"):
        automaton_of(GenerationConfig(regex="("), BYTES)
    with pytest.raises(ValueError, match=r"expected a schema that can become a regular expression \(Unsupported type"):
        pattern_of('{"type": "foo"}')


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({}, "the schema has no type. Give a type, or one of properties"),
        ({"type": "integer", "minimum": 5, "multipleOf": 2}, "the schema has minimum, multipleOf, which is not supported"),
        ({"type": "array", "items": {"type": "array", "uniqueItems": True}}, "the schema's items has uniqueItems"),
        ({"properties": {"a": {"not": {"const": 1}}}}, "the schema's properties.a has not"),
        ({"properties": {"a": {"type": "null"}}, "required": ["b"]}, "requires b, which is not in its properties"),
        ({"type": "string", "pattern": "^a", "maxLength": 2}, "a pattern with a length or a format: expected one"),
        (
            {"$defs": {"x": {"allOf": [{"type": "string"}, {"type": "null"}]}}, "$ref": "#/$defs/x"},
            "defs.x has several",
        ),
        ({"anyOf": [{"type": "string"}], "enum": ["a"]}, "has anyOf and enum: expected one"),
        ({"type": "array", "items": True}, "items is True: expected an object"),
    ],
)
def test_a_schema_that_texts_would_break_is_refused(schema, message):
    with pytest.raises(ValueError, match="json_schema is invalid: .*" + re.escape(message)):
        pattern_of(json.dumps(schema))


def test_what_the_tokenizer_cannot_spell_is_refused():
    words = tokenizers.train(texts=CORPUS, kind="wordpiece", vocab_size=150, progress=False)
    for choices, message in (
        (["yes", "☃"], r"choices='☃' is invalid: expected a text that the tokenizer has tokens for"),
        ([" "], r"choices=' ' is invalid"),
        (["YES", "yes"], r"choices=\('YES', 'yes'\) is invalid: expected texts that the tokenizer can tell apart"),
    ):
        with pytest.raises(ValueError, match=message):
            automaton_of(GenerationConfig(choices=choices), words)
    with pytest.raises(ValueError, match="bad_words=' ' is invalid"):
        shared_settings_of(GenerationConfig(bad_words=[" "]), words)


def test_a_choice_however_improbable_is_kept_to_by_beams(llama):
    """A bias may be as large as it is allowed to be."""
    for bias in (-1e9, 1e9):
        config = GenerationConfig(choices=["yes"], logit_bias={BYTES.encode("y")[0]: bias}, max_new_tokens=6)
        for beams in (1, 2):
            assert tfllm.generate(llama, BYTES, "ab", config, num_beams=beams)[0].text == "yes"


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "outlines_core", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tfllm\[constrained\]'"):
        automaton_of(GenerationConfig(regex="never compiled"), BYTES)
