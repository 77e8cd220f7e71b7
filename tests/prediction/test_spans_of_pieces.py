"""Characters of pieces, against `tokenizers`' own offsets and by hand; answers that are a part of a word."""

import itertools
import unicodedata
import warnings

import pytest
import tensorflow as tf
from encoders import strong

import tfllm
from tfllm import data, features
from tfllm.finetuning import evaluator
from tfllm.text.token_offsets import token_offsets
from tfllm.text.words import split_words, word_pieces

TEXTS = [
    "",
    "Ada Byron, later Lady Lovelace, wrote the first program in London.",
    "L'ÉTÉ  à Zu\u0301rich: naïve 中文 text — ½ of it! 🙂\n",
    "그는 서울에 산다. Bonner Straße, ΣΊΣΥΦΟΣ \u0301q İstanbul",
    "彼はパリに住む แมวสีดำนอน",
]


def spans(texts, tokenizer):
    words = split_words(tf.constant(texts), keep_spaces=tokenizer.keeps_spaces)
    pieces = word_pieces(words.strings, tokenizer, None)
    found = token_offsets(words, pieces, tokenizer)
    rows = [tf.RaggedTensor.from_row_splits(each, pieces.ids.row_splits).to_list() for each in (found.starts, found.ends)]
    return words, pieces, [list(zip(*row, strict=True)) for row in zip(*rows, strict=True)]


def by_hand(strings, starts, ends, tokenizer):
    """Of one text's words: where the words' pieces say their bytes, or where `tokenizers` says that they come from."""
    found = []
    for string, start, end in zip(strings, starts, ends, strict=True):
        string = string.decode()
        lead = len(string) - (end - start)
        if hasattr(tokenizer, "_native") and hasattr(tokenizer._native, "get_vocab"):
            encoded = tokenizer._native.encode(string, add_special_tokens=False)
            inside = [(0, len(string))] if encoded.ids in ([], [tokenizer.unk_id]) else encoded.offsets
        else:
            sizes = [tokenizer.token_bytes()[id] for id in tokenizer.encode(string)]
            char_of = [place for place, character in enumerate(string) for _ in character.encode()]
            byte = [0, *itertools.accumulate(sizes)]
            inside = [(char_of[a], char_of[b - 1] + 1) for a, b in itertools.pairwise(byte)]
        # White space is the first character's; marks are their letter's.
        marks = {place for place, character in enumerate(string) if unicodedata.category(character)[0] == "M" and place > lead}
        for first, last in inside:
            first, last = max(first, lead), max(last, lead + 1)
            while first in marks:
                first -= 1
            while last in marks:
                last += 1
            found.append((start + first - lead, start + last - lead))
    return found


def test_pieces_spell_the_characters_that_the_library_says(any_tokenizer):
    words, _, found = spans(TEXTS, any_tokenizer)
    for number, text in enumerate(TEXTS):
        expected = by_hand(
            *(each[number].numpy().tolist() for each in (words.strings, words.starts, words.ends)), any_tokenizer
        )
        assert found[number] == expected, [text[a:b] for a, b in found[number]]
    assert sum(map(len, found)) > 60


def test_as_in_the_docstring(trained, tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "zu", "bonn", "##er", "et", "##e"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    wordpiece = tfllm.tokenizers.WordPieceTokenizer.from_file(tmp_path / "vocab.txt")
    assert spans(["Zu Bonner", "Été"], wordpiece)[2] == [[(0, 2), (3, 7), (7, 9)], [(0, 2), (2, 3)]]
    assert spans([" é"], trained["bytes"])[2] == [[(1, 2)] * 3]


def test_composed_accents_are_one_character():
    """Qwen's tokenizers write text in NFC: three bytes that stand decomposed are two in its pieces."""
    tokenizer = tfllm.tokenizers.train(texts=["été à Zürich"] * 9, kind="byte_bpe", vocab_size=259, progress=False)
    composed = type(tokenizer)(tokenizer._asset.replace(b'"normalizer":null', b'"normalizer":{"type":"NFC"}'))
    assert composed._vocabulary.nfc
    _, pieces, (found,) = spans(["Zu\u0308rich e\u0301"], composed)
    assert composed.decode(pieces.ids.values.numpy().tolist()) == "Zürich é"
    assert found[0] == (0, 1) and found[-1] == (8, 10)
    assert (1, 3) in found and all(a != 2 for a, _ in found)


ANSWERS = [
    ("그는 서울에 산다", "서울"),
    ("彼はパリに住む", "パリ"),
    ("แมวสีดำนอน", "สีดำ"),
    ("the Bonner river", "Bonn"),
    ("à l'été", "été"),
]


def records(answers=ANSWERS):
    return [
        {"id": str(n), "question": "Who?", "context": text, "answers": [answer], "answer_start": [text.index(answer)]}
        for n, (text, answer) in enumerate(answers)
    ]


def test_answers_inside_words_can_be_given(any_tokenizer):
    """By pieces that end where they do; the bytes' always, the scripts without spaces always."""
    rows = data.question_answering(records(), any_tokenizer, max_length=64, stride=16)
    starts, ends = rows.row_features[features.SPAN_STARTS], rows.row_features[features.SPAN_ENDS]
    for row, (text, answer) in enumerate(ANSWERS):
        said = text[rows.characters(row, int(starts[row]), int(ends[row]))]
        assert (said == answer) == rows.exact[row]
        assert answer in said
    assert rows.exact[[1, 2, 4]].all()
    if any_tokenizer.kind == "bytes":
        assert rows.exact.all()


def test_what_cannot_be_given_is_counted(trained):
    tokenizer = trained["wordpiece"]
    inside = [("it was London.", "Lond"), ("it was London.", "London")]
    with pytest.warns(UserWarning, match="1 of 2 answers begin or end inside a token.*: record 1, 'Lond'"):
        rows = data.question_answering(records(inside), tokenizer, max_length=64, stride=16)
    assert rows.exact.tolist() == [False, True]
    scores = evaluator(strong("question_answerer", tokenizer, max_length=64), rows)().scores
    assert scores["oracle_exact_match"] == 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.question_answering(records(inside), trained["bytes"], max_length=64, stride=16).exact.all()
