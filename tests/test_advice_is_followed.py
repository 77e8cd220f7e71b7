"""Every message of the folders below is one whose advice a test follows, or one that is known to give none.

A new message fails here until it is one of both. Where it says what a user can do, provoke it and do what it says:
`follow(words of the message, what is wrong, the same mended)` in tests/{corpus,data,interop}/test_advice_of_*.py.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
FOLDERS = ("data", "corpus", "interop", "text")

MESSAGES = 301
"""How many there are: a new one may have the words of another, and needs a test of its own all the same."""

FOLLOWED_ELSEWHERE = {
    "corpus/test_records.py::test_a_compressed_file_by_another_name_is_read_under_the_name_that_is_said": (
        "The file is compressed: rename it to ",
    ),
    "corpus/test_records.py::test_the_command_that_an_error_names_mends_the_file": (
        ". Convert it: ",
        "Convert the file; if Windows wrote it: ",
    ),
    "corpus/test_sources.py::test_what_is_wrong_with_a_compressed_file_is_said_and_mended_as_said": (
        "fetch or compress it again, or exclude it.",
        ": if it is not compressed, rename it to ",
        "It is compressed as .",
    ),
    "data/test_advice_of_stores.py::test_beam": ("A runner needs Apache Beam: pip install",),
    "data/test_labelled.py::test_class_weights_as_in_the_docstring": ("Class weights need one class per row or per word",),
    "data/test_prepare.py::test_killed_again_and_again_it_goes_on": (
        "Finished pieces are kept: call again ",
        "A tokenizer must be of a class that can be imported.",
    ),
    "interop/test_huggingface.py::test_other_labels_than_the_folders": (", and give the model another head: tfllm.",),
    "interop/test_keras_hub.py::test_a_backbone_gives_the_same_hidden_states": (" is invalid: expected one of KerasHub's ",),
    "interop/test_tokenizer_folders.py::test_named_rows_behind_the_tokenizer_are_not_cut": (
        "with tokenizer=… or added_tokens.json",
    ),
}
"""Words of messages, by the test of another file that follows their advice."""

ENDS_WITH_ADVICE = (
    " answers ",
    " at character ",
    ", which looks like ",
    ", which would be ignored. ",
    ": no answers are given: there is no ",
    " checksum does not fit. ",
    " bytes, the manifest says ",
    " is damaged: sha256 ",
    " files are not read. ",
    ") is not UTF-8. ",
    " is not UTF-8. ",
    ": cannot be unpacked (",
    "the array ends, and more follows",
    "the file ends",
    "it is empty",
    "it ends inside a frame",
    "pipe or device",
    "files or texts",
    " cannot be read (",
    ": in its first object ",
    " is the lone surrogate U+",
    " is invalid: expected a copy of ",
)
"""Words of messages that end with another string, which is the advice, and of what is a part of another."""

INSERTED_ADVICE = (" is invalid: expected ",)
"""All the words between two values of a message that inserts what is expected: corpus/chunks.py, preparation/manifest.py."""

NO_ADVICE = (
    " texts have different labels in different rows; the first, ",
    " sentences have words that `predict` joins with the word before them",
    " texts, all empty. Nothing to prepare.",
    " were not UTF-8. Nothing to prepare.",
    " more). Nothing to read.",
    " documents are not UTF-8 and were skipped, in ",
    " documents hold U+2581",
    " documents that are no UTF-8 text, in ",
    "It does not follow the Tokenizer protocol.",
    " only, or with max_new_tokens or a stop string",
    ": expected only variables that ",
    " twice, once as ",
    "the header is not that of torch.save",
    ": expected a dict of tensors",
    ": expected a tensor",
    " bytes for ",
    " is invalid: expected the usual values of this buffer. ",
    " numbers is unexpected",
    "a tensor of size ",
    ": expected what a dict of tensors needs; nothing was run",
    ": expected the storage of a tensor",
    "its numbers are big-endian",
)
"""Words of messages after which a user can do nothing here, or that another message quotes (torch_files.py)."""

ADVICE = re.compile(
    r"\b(accepted|give|name|write|remove|leave|leave out|correct|fill|read|use|close|open|put|call|make|mend|exclude|copy|load|"
    r"prepare|pass|choose|wait|lower|export|get it|run|convert|rename|unpack|extract|fetch|double|end lines|set|save|resize|"
    r"download|delete|replace|must)\b",
    re.IGNORECASE,
)


def literal(node: ast.expr) -> list[str]:
    """The text between the places that are filled in."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def strings(tree: ast.AST, words: int) -> Iterator[ast.expr]:
    """Strings of as many words or more, but docstrings."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    inside |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.JoinedStr, ast.Constant)) and id(node) not in inside:  # noqa: SIM102 - one line is too long
            if len(re.findall("[A-Za-z]{2,}", " ".join(literal(node)))) >= words:
                yield node


def messages() -> Iterator[tuple[str, list[str]]]:
    """Place and text of what is raised and warned of, and of every other string that sounds like advice."""
    for path in (path for folder in FOLDERS for path in sorted((TESTS.parent / "tfllm" / folder).rglob("*.py"))):
        tree = ast.parse(path.read_text())
        said = {
            id(node) for call in ast.walk(tree) if isinstance(call, ast.Call) and is_message(call) for node in ast.walk(call)
        }
        for node in strings(tree, 3):
            if id(node) in said or ADVICE.search(" ".join(literal(node))):
                yield f"{path.relative_to(TESTS.parent)}:{node.lineno}", literal(node)


def is_message(call: ast.Call) -> bool:
    """An error that is made, or a warning."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name.endswith("Error") or name in ("warn", "error")


def followed() -> set[str]:
    """The words that tests follow: strings of the advice tests that are long enough to be of one message."""
    files = [path for folder in FOLDERS for path in (TESTS / folder).glob("test_advice_of_*.py")]
    here = {
        text for path in files for node in strings(ast.parse(path.read_text()), 0) for text in literal(node) if len(text) > 9
    }
    return here | {words for each in FOLLOWED_ELSEWHERE.values() for words in each}


def test_every_message_is_followed_or_gives_no_advice() -> None:
    every = list(messages())
    known = followed().union(ENDS_WITH_ADVICE, NO_ADVICE).difference(INSERTED_ADVICE)
    unknown = [
        f"{place}: {'…'.join(text)}"
        for place, text in every
        if not any(part in INSERTED_ADVICE or any(words in part for words in known) for part in text)
    ]
    assert not unknown, "\n".join(["messages whose advice no test follows (see above how to add one):", *unknown])
    assert len(every) == MESSAGES, (
        f"{len(every)} messages, not {MESSAGES}: follow the advice of the new, then write the new number"
    )


def test_what_is_listed_is_there() -> None:
    texts = [part for _, text in messages() for part in text]
    listed = {
        *ENDS_WITH_ADVICE,
        *INSERTED_ADVICE,
        *NO_ADVICE,
        *(words for each in FOLLOWED_ELSEWHERE.values() for words in each),
    }
    assert not {words for words in listed if not any(words in part for part in texts)}
    for test in FOLLOWED_ELSEWHERE:
        file, _, name = test.partition("::")
        defined = (node.name for node in ast.walk(ast.parse((TESTS / file).read_text())) if isinstance(node, ast.FunctionDef))
        assert name in defined, test
