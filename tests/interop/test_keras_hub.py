"""KerasHub's BERT and RoBERTa as ours: the same outputs."""

import json

import keras
import keras_hub
import numpy as np
import pytest
from small import BERT, MERGES, ROBERTA, features, tokenizer_for

from tfllm.interop import from_huggingface, from_keras_hub, to_huggingface
from tfllm.models import MaskedLM, TextEmbedder

SIZES = dict(vocabulary_size=61, num_layers=2, num_heads=3, hidden_dim=18, intermediate_dim=29, max_sequence_length=23)
LIMIT = 1e-5


def strong(model, seed):
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(random.normal(1.0 if "gamma" in variable.path else 0.0, 0.25, variable.shape))
    return model


@pytest.fixture(params=["Bert", "Roberta"])
def backbone(request):
    options = dict(num_segments=3) if request.param == "Bert" else {}
    return strong(getattr(keras_hub.models, f"{request.param}Backbone")(**SIZES, **options), 0)


def batch(backbone):
    """Theirs and ours: rows of 17, 11 and 5 tokens."""
    random, bert = np.random.default_rng(1), hasattr(backbone, "num_segments")
    there = (np.arange(17) < np.array([[17], [11], [5]])).astype(np.int32)
    ids = random.integers(0, 61, there.shape).astype(np.int32)
    types = (random.integers(0, 3 if bert else 1, there.shape) * there).astype(np.int32)
    theirs = {"token_ids": ids, "padding_mask": there} | ({"segment_ids": types} if bert else {})
    return theirs, {"token_ids": ids, "segment_ids": there, "type_ids": types}


def test_a_backbone_gives_the_same_hidden_states(backbone):
    theirs, ours = batch(backbone)
    model, tokenizer = from_keras_hub(backbone)
    assert isinstance(model, TextEmbedder) and tokenizer is None
    said = backbone(theirs)
    sequence = said["sequence_output"] if isinstance(said, dict) else said
    hidden = model.stack(ours).last_hidden_state
    assert np.std(sequence) > 0.5
    assert np.abs((hidden - sequence) * ours["segment_ids"][..., None]).max() < LIMIT
    if isinstance(said, dict):
        assert np.abs(model.stack.pooler(hidden) - said["pooled_output"]).max() < LIMIT


def test_a_masked_language_model_gives_the_same_scores(backbone):
    theirs, ours = batch(backbone)
    kind = type(backbone).__name__.replace("Backbone", "MaskedLM")
    task = strong(getattr(keras_hub.models, kind)(backbone=backbone), 2)
    places = np.array([[0, 3, 16], [1, 10, 2], [4, 0, 0]], np.int32)
    model, _ = from_keras_hub(task)
    assert isinstance(model, MaskedLM)
    scores = task(theirs | {"mask_positions": places})
    assert np.std(scores) > 0.5
    assert np.abs(model(ours | {"target_places": places}) - scores).max() < LIMIT


def test_a_roberta_has_the_shape_of_the_preset():
    backbone = keras_hub.models.RobertaBackbone(**SIZES)
    model, _ = from_keras_hub(backbone)
    assert model.config.position_offset == 2 and model.config.num_types == 1
    assert not model.stack.position_embedding.embeddings.numpy()[:2].any()


def test_the_tokenizer_of_the_preprocessor_comes_along():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cafe", "##s", "Cafe"]
    theirs = keras_hub.models.BertTokenizer(vocabulary=pieces, lowercase=True)
    backbone = keras_hub.models.BertBackbone(**SIZES | dict(vocabulary_size=len(pieces)))
    preprocessor = keras_hub.models.BertMaskedLMPreprocessor(theirs, sequence_length=8)
    _, tokenizer = from_keras_hub(keras_hub.models.BertMaskedLM(backbone=backbone, preprocessor=preprocessor))
    assert tokenizer.encode("The Cafes") == list(theirs("The Cafes")) == [5, 6, 7]
    assert tokenizer.encode("café") == [6]  # as BERT's; KerasHub's keeps the accent
    assert tokenizer.mask_id == 4


def test_a_roberta_goes_on_to_hugging_face(tmp_path):
    ours = tokenizer_for(ROBERTA, tmp_path)
    pieces = json.loads((tmp_path / "vocab.json").read_text())
    theirs = keras_hub.models.RobertaTokenizer(vocabulary=pieces, merges=[" ".join(pair) for pair in MERGES])
    backbone = strong(keras_hub.models.RobertaBackbone(**SIZES | dict(vocabulary_size=len(pieces))), 0)
    preprocessor = keras_hub.models.RobertaMaskedLMPreprocessor(theirs, sequence_length=8)
    model, tokenizer = from_keras_hub(keras_hub.models.RobertaMaskedLM(backbone=backbone, preprocessor=preprocessor))
    assert tokenizer.fingerprint() == ours.fingerprint()
    again, _ = from_huggingface(to_huggingface(model, tokenizer, tmp_path / "out"))
    batch = features(model.config, tokenizer.pad_id)
    np.testing.assert_array_equal(again(batch).numpy(), model(batch).numpy())


def test_a_bert_masked_language_model_has_no_form_in_hugging_face(tmp_path):
    backbone = keras_hub.models.BertBackbone(**SIZES | dict(vocabulary_size=BERT.vocab_size))
    model, _ = from_keras_hub(keras_hub.models.BertMaskedLM(backbone=backbone))
    with pytest.raises(ValueError, match="transform_activation='gelu', transform_epsilon=1e-05"):
        to_huggingface(model, tokenizer_for(BERT, tmp_path), tmp_path / "out")


def test_other_models_are_refused_by_name():
    with pytest.raises(ValueError, match=r"Sequential is invalid: expected one of KerasHub's BertBackbone, RobertaBackbone"):
        from_keras_hub(keras.Sequential())


def test_a_preset_is_read_by_its_folder(tmp_path):
    """With its head where it has one, and its tokenizer."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cafe", "##s", "Cafe"]
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=pieces, lowercase=True)
    backbone = strong(keras_hub.models.BertBackbone(**SIZES | dict(vocabulary_size=len(pieces))), 0)
    preprocessor = keras_hub.models.BertMaskedLMPreprocessor(tokenizer, sequence_length=8)
    task = strong(keras_hub.models.BertMaskedLM(backbone=backbone, preprocessor=preprocessor), 2)
    backbone.save_to_preset(tmp_path / "bare")
    task.save_to_preset(tmp_path / "task")
    batch = features(from_keras_hub(backbone)[0].config, 0)
    for folder, made_of in (("bare", backbone), ("task", task)):
        (read, its_tokenizer), (expected, _) = from_keras_hub(tmp_path / folder), from_keras_hub(made_of)
        assert type(read) is type(expected)
        np.testing.assert_array_equal(read(batch), expected(batch))
    assert its_tokenizer.encode("The Cafes") == [5, 6, 7]
    tokenizer.save_to_preset(tmp_path / "bare")
    model, its_tokenizer = from_keras_hub(str(tmp_path / "bare"))
    assert isinstance(model, TextEmbedder) and its_tokenizer.encode("The Cafes") == [5, 6, 7]
    with pytest.raises(ValueError, match="preset must be a one of"):
        from_keras_hub("nowhere")
