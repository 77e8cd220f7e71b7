"""Every function that takes a model, a tokenizer or a store takes the path of its folder, and says what else it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tfllm
from tfllm import data, finetuning
from tfllm.data.labelled.conll_files import Sentence
from tfllm.tokenizers import ByteTokenizer

ROWS = [{"text": f"text {i}", "text_pair": f"other {i}", "label": "ab"[i % 2], "number": float(i)} for i in range(4)]
ASKED = [{"question": "Who?", "context": "It was Ada.", "answers": ["Ada"], "answer_start": [7]}]
WORDS = [Sentence(("Ada", "went"), ("B-PER", "O"), (True, False), "line 1")]


class Folders:
    """Paths of a decoder, an encoder, a classifier, a tokenizer and a store."""

    def __init__(self, folder: Path):
        words = ByteTokenizer()
        small = dict(vocab_size=words.vocab_size, num_layers=1, hidden_size=16, num_heads=2)
        encoder = tfllm.MaskedLM(tfllm.preset("bert-tiny", pooler=False, **small))
        self.models = {
            "decoder": tfllm.CausalLM(tfllm.preset("llama-tiny", **small | dict(num_kv_heads=1, ffn_size=16))),
            "encoder": encoder,
            "classifier": tfllm.TextClassifier.from_pretrained(encoder, labels=["a", "b"], max_length=16),
        }
        for name, model in self.models.items():
            tfllm.save(model, words, folder / name)
        self.decoder, self.encoder, self.classifier = (str(folder / name) for name in self.models)
        words.save(folder / "words")
        (folder / "texts.txt").write_text("\n".join(f"the number {i}" for i in range(60)))
        data.prepare(folder / "texts.txt", words, folder / "store", separator="\n", validation=0.1, processes=1, progress=False)
        self.words, self.store, self.texts = str(folder / "words"), str(folder / "store"), str(folder / "texts.txt")


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("paths"))


def test_texts_are_continued(at: Folders) -> None:
    [expected] = tfllm.generate(at.models["decoder"], ByteTokenizer(), "a", max_new_tokens=3)
    for model, words in ((at.decoder, at.words), (at.decoder, at.decoder), (Path(at.decoder), f"{at.decoder}/tokenizer")):
        assert tfllm.generate(model, words, "a", max_new_tokens=3) == [expected]
    assert tfllm.generate(at.decoder, ByteTokenizer(), "a", max_new_tokens=3, draft_model=at.decoder, num_draft_tokens=2)[
        0
    ].text == (expected.text)
    assert "".join(tfllm.stream(at.decoder, at.words, "a", max_new_tokens=3)) == expected.text
    fast = tfllm.for_inference(at.decoder)
    assert tfllm.generate(fast, at.words, "a", max_new_tokens=3)[0].text == expected.text


def test_texts_are_classified_and_models_exported_and_saved(at: Folders, tmp_path: Path) -> None:
    expected = tfllm.predict(at.models["classifier"], ByteTokenizer(), "a text")
    assert tfllm.predict(at.classifier, at.classifier, "a text") == expected
    assert tfllm.export(at.classifier, at.words, tmp_path / "export").name == "1"
    assert tfllm.save(at.encoder, at.words, tmp_path / "again").is_dir()
    again = tfllm.TextClassifier.from_pretrained(at.encoder, labels=["a", "b"])
    assert (
        again.stack.token_embedding.embeddings.numpy() == at.models["encoder"].stack.token_embedding.embeddings.numpy()
    ).all()


READERS = {
    "text_classification": lambda words: data.text_classification(ROWS, words),
    "regression": lambda words: data.regression(ROWS, words, label="number"),
    "text_pairs": lambda words: data.text_pairs([{"text": row["text"], "text_pair": row["text_pair"]} for row in ROWS], words),
    "tagging": lambda words: data.tagging(WORDS, words),
    "question_answering": lambda words: data.question_answering(ASKED, words),
    "read": lambda words: finetuning.read("text_classifier", ROWS, words),
}


@pytest.mark.parametrize("reader", READERS)
def test_rows_are_read(at: Folders, reader: str) -> None:
    assert READERS[reader](at.words).fingerprint == READERS[reader](ByteTokenizer()).fingerprint
    with pytest.raises(TypeError, match=r"tokenizer=7 must be a tokenizer \(tfllm\.tokenizers\.load, .* got int"):
        READERS[reader](7)


def test_stores_are_read(at: Folders, tmp_path: Path) -> None:
    store = data.Store.open(at.store, at.words)
    store.check_tokenizer(at.words)
    assert next(store.texts("validation", at.words)).startswith("the number")
    shape = dict(sequence_length=8, batch_size=2)
    for stores in (at.store, Path(at.store), {at.store: 1.0}):
        batch, expected = (next(iter(data.causal_lm(each, **shape))) for each in (stores, store))
        assert (batch["token_ids"].numpy() == expected["token_ids"].numpy()).all()
    assert next(iter(data.masked_lm(at.store, at.words, **shape)))["token_ids"].shape == (2, 8)
    again = data.prepare(at.texts, at.words, tmp_path / "store", separator="\n", validation=0.1, processes=1, progress=False)
    assert again.fingerprint == store.fingerprint


def test_models_are_trained(at: Folders, tmp_path: Path) -> None:
    settings = tfllm.Pretraining(epochs=1, steps_per_epoch=1, batch_size=2, sequence_length=8, validation_steps=1)
    config = at.models["decoder"].config
    run = tfllm.pretrain(at.store, at.words, config=config, folder=tmp_path / "run", settings=settings, verbose=0)
    assert run.step == 1
    rows = data.text_classification(ROWS, at.words, max_length=16)
    settings = tfllm.Finetuning(epochs=1, batch_size=4)
    tuned = tfllm.finetune(at.classifier, rows, rows, folder=tmp_path / "topics", settings=settings, verbose=0)
    assert tuned.step == 1
    assert finetuning.evaluator(tmp_path / "topics" / "best", rows)().scores.keys() >= {"accuracy"}


def hugging_face(at: Folders, folder: Path) -> Path:
    """The classifier in a folder as Transformers writes it."""
    tokenizer = tfllm.tokenizers.train(texts=["some words to learn from"] * 9, kind="wordpiece", vocab_size=30, progress=False)
    config = at.models["encoder"].config.replace(vocab_size=tokenizer.vocab_size, pooler=True)
    return tfllm.to_huggingface(tfllm.TextClassifier(config, labels=["a", "b"]), tokenizer, folder)


def test_where_weights_are_is_said(at: Folders, tmp_path: Path) -> None:
    """What is no folder of ours is named, and what reads it: which does."""
    with pytest.raises(
        FileNotFoundError, match=r"gpt2 is not a folder but the name of an architecture \(tfllm\.preset\), without"
    ):
        tfllm.generate("gpt2", at.words, "a")
    with pytest.raises(
        FileNotFoundError, match="openai-community/gpt2 is not a folder, and nothing is downloaded: give the path"
    ):
        tfllm.load("openai-community/gpt2")
    folder = hugging_face(at, tmp_path / "theirs")
    with pytest.raises(
        ValueError, match=r"config\.json is Hugging Face's: (tfllm\.from_huggingface\('.*theirs'\)) reads"
    ) as said:
        tfllm.predict(folder, at.words, "a")
    model, tokenizer = eval(str(said.value)[str(said.value).index("tfllm.from") :].removesuffix(" reads such a folder"))
    assert tfllm.predict(model, tokenizer, "some words")[0]["labels"] == ["a", "b"]
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint yet; tfllm\.from_huggingface\('.*theirs'\) reads Hugging Face's"
    ):
        tfllm.load(folder)


def test_advice_about_parts_that_do_not_fit(at: Folders) -> None:
    """The advice of each message, followed."""
    with pytest.raises(ValueError, match=r"Take the one that tfllm\.load gives with the model, or make .* vocab_size=259"):
        tfllm.predict(tfllm.TextRegressor(tfllm.preset("bert-tiny", num_layers=1)), at.words, "a")
    model, tokenizer = tfllm.load(at.classifier)
    assert tfllm.predict(model, tokenizer, "a")
    encoder = at.models["encoder"]
    with pytest.raises(ValueError, match=r"has no such weights: encoder/pooler/.*pretrained\.config\.replace\(pooler=False\)"):
        tfllm.TextRegressor.from_pretrained(encoder, config=encoder.config.replace(pooler=True))
    tfllm.TextRegressor.from_pretrained(encoder, config=encoder.config.replace(pooler=False))
    with pytest.raises(
        ValueError, match=r"num_layers.*Begin with pretrained\.config\.replace\(…\); what may be changed is dropout"
    ):
        tfllm.TextRegressor.from_pretrained(encoder, config=tfllm.preset("bert-mini", vocab_size=259))
    tfllm.TextRegressor.from_pretrained(encoder, config=encoder.config.replace(dropout=0.5))


REFUSED: list[tuple[Any, str]] = [
    (lambda at, out: tfllm.generate(at.words, at.words, "a"), "words holds no model.safetensors, and no checkpoint yet"),
    (lambda at, out: tfllm.generate(7, at.words, "a"), r"model=7 is invalid: expected a model \(from tfllm\.load .* got int"),
    (lambda at, out: tfllm.generate(ByteTokenizer(), at.words, "a"), "expected a model .* got ByteTokenizer"),
    (lambda at, out: tfllm.generate(at.decoder, "nowhere", "a"), "no folder nowhere: give one that `tokenizer.save` wrote"),
    (lambda at, out: tfllm.stream(None, at.words, "a"), "model=None is invalid: expected a model .* got NoneType"),
    (lambda at, out: tfllm.predict({}, at.words, "a"), r"model=\{\} is invalid: expected a model .* got dict"),
    (lambda at, out: tfllm.export(7, at.words, out), "model=7 is invalid: expected a model"),
    (lambda at, out: tfllm.save(at.models["encoder"], None, out), "tokenizer=None must be a tokenizer .* got NoneType"),
    (lambda at, out: tfllm.to_huggingface(7, at.words, out), "model=7 is invalid: expected a model"),
    (lambda at, out: tfllm.for_inference(7), "model=7 is invalid: expected a model"),
    (lambda at, out: tfllm.load(at.models["encoder"]), "is invalid: expected the path of a model folder, got MaskedLM"),
    (lambda at, out: tfllm.TextClassifier.from_pretrained(7, labels=["a", "b"]), "model=7 is invalid: expected a model"),
    (
        lambda at, out: tfllm.finetune(at.classifier, "a.csv", "b.csv", folder=out),
        r"rows='a\.csv' is invalid: expected labelled rows, got str",
    ),
    (lambda at, out: data.causal_lm(7, sequence_length=8, batch_size=2), "store=7 must be a Store .* got int"),
    (lambda at, out: data.masked_lm(at.store, 7, sequence_length=8, batch_size=2), "tokenizer=7 must be a tokenizer"),
    (lambda at, out: data.prepare(at.texts, 7, out), "tokenizer=7 must be a tokenizer"),
    (lambda at, out: data.Store.open(at.store, 7), "tokenizer=7 must be a tokenizer"),
    (
        lambda at, out: tfllm.train.Run(out, at.decoder, tokenizer=at.words, steps_per_epoch=1),
        "must be a compiled model, got str",
    ),
    (
        lambda at, out: tfllm.pretrain(at.store, at.words, config="llama-tiny", folder=out),
        r"config='llama-tiny' is invalid: expected a ModelConfig, got str\. Make one with tfllm\.preset\(name, ",
    ),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_is_neither_is_named(at: Folders, tmp_path: Path, number: int) -> None:
    call, message = REFUSED[number]
    with pytest.raises((TypeError, FileNotFoundError), match=message):
        call(at, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_load_takes_the_class_that_the_folder_must_hold(at: Folders) -> None:
    model, _ = tfllm.load(at.classifier, tfllm.TextClassifier)
    assert model.labels == ("a", "b")
    with pytest.raises(
        ValueError, match=r"model_class=TextClassifier is invalid: expected MaskedLM.*TextClassifier\.from_pret"
    ):
        tfllm.load(at.encoder, tfllm.TextClassifier)
    assert tfllm.TextClassifier.from_pretrained(at.encoder, labels=["a", "b"]).labels == ("a", "b")  # as advised
