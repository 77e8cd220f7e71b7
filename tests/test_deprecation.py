"""Old names go on working, each with a warning that names the new one and points at the caller."""

import dataclasses
import inspect
import sys
import types
import warnings

import pytest

from tfllm.commands.renamed import with_new_names
from tfllm.data import masked_lm
from tfllm.deprecation import renamed_arguments, renamed_names
from tfllm.pretraining import _as_stored
from tfllm.settings import Pretraining
from tfllm.tokenizers import ByteTokenizer
from tfllm.train import Run


@renamed_arguments({"mask_share": "mask_rate"}, values={"pairs": {"next": "nsp"}})
def batches(store, *, mask_rate=0.15, pairs="none"):
    return store, mask_rate, pairs


@renamed_arguments({"mask_share": "mask_rate"})
@dataclasses.dataclass(frozen=True)
class Settings:
    mask_rate: float = 0.15


def warned(call, *expected):
    with pytest.warns(DeprecationWarning) as found:
        result = call()
    assert [str(each.message) for each in found] == [
        f"{words} is deprecated and goes away in the next version. Use {new}." for words, new in expected
    ]
    assert {each.filename for each in found} == {__file__}
    return result


def test_arguments_and_their_values():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert batches("a", mask_rate=0.2, pairs="nsp") == ("a", 0.2, "nsp")
        assert Settings(0.3) == Settings(mask_rate=0.3)
    old = lambda: batches("a", mask_share=0.2, pairs="next")  # noqa: E731
    assert warned(old, ("batches(mask_share=…)", "mask_rate=…"), ("batches(pairs='next')", "pairs='nsp'")) == ("a", 0.2, "nsp")
    with pytest.raises(TypeError, match=r"mask_share=… and mask_rate=… are two names of one argument. Give mask_rate alone"):
        batches("a", mask_share=0.2, mask_rate=0.2)
    assert list(inspect.signature(batches).parameters) == ["store", "mask_rate", "pairs"]


def test_arguments_of_a_class():
    assert warned(lambda: Settings(mask_share=0.3), ("Settings(mask_share=…)", "mask_rate=…")) == Settings(0.3)
    assert dataclasses.replace(Settings(), mask_rate=0.4).mask_rate == 0.4


def test_names_of_a_module(monkeypatch):
    module = types.ModuleType("some.package")
    monkeypatch.setitem(sys.modules, "some.package", module)
    module.New = 5
    module.__getattr__ = renamed_names("some.package", {"Old": "New"}, {"other": 6}.__getitem__)
    assert warned(lambda: module.Old, ("some.package.Old", "some.package.New")) == 5
    assert module.other == 6
    with pytest.raises(AttributeError, match="no attribute 'c'"):
        renamed_names("a.b", {})("c")


def test_options_of_the_command_line():
    old = ["pretrain", "store", "--mask-share", "0.2", "--mask_share=0.3", "--pairs", "next", "--pairs=order", "next"]
    with pytest.warns(DeprecationWarning) as found:
        new = with_new_names(old)
    assert new == ["pretrain", "store", "--mask-rate", "0.2", "--mask-rate=0.3", "--pairs", "nsp", "--pairs=sop", "next"]
    assert [str(each.message).partition(" is ")[0] for each in found] == ["--mask-share"] * 2 + [
        "--pairs next",
        "--pairs=order",
    ]
    assert with_new_names(new) == new


def test_what_is_renamed_is_taken():
    assert Pretraining(mask_rate=0.2, pairs="sop") == warned(
        lambda: Pretraining(mask_share=0.2, pairs="order"),
        ("Pretraining(mask_share=…)", "mask_rate=…"),
        ("Pretraining(pairs='order')", "pairs='sop'"),
    )
    assert _as_stored(dict(mask_rate=0.2, unit="word", pairs="nsp")) == dict(mask_share=0.2, unit="word", pairs="next")
    with pytest.warns(DeprecationWarning, match="Use short_seq_prob="), pytest.raises(TypeError):
        masked_lm(short_share=0.2)
    with pytest.warns(DeprecationWarning, match="Use token_byte_strings"):
        assert ByteTokenizer().surfaces() == ByteTokenizer().token_byte_strings()


def test_a_property_of_a_run():
    run = Run.__new__(Run)  # only what the property reads
    run.steps_per_epoch, run.history = 10, []
    iterations = types.SimpleNamespace(numpy=lambda: 14)
    run.model = types.SimpleNamespace(optimizer=types.SimpleNamespace(iterations=iterations))
    assert run.steps_since_record == 4
    assert warned(lambda: run.unrecorded, ("Run.unrecorded", "Run.steps_since_record")) == 4
