"""The names that packages list in their stub files are there, for `dir`, for `import` and for type checkers."""

import importlib
from pathlib import Path

import pytest

import tfllm

ROOT = Path(tfllm.__file__).parent
PACKAGES = [".".join(["tfllm", *stub.parent.relative_to(ROOT).parts]) for stub in ROOT.rglob("__init__.pyi")]


def test_the_lazy_packages_have_stubs():
    assert {"tfllm", "tfllm.data", "tfllm.exporting", "tfllm.generation", "tfllm.interop"} <= set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_listed_name_is_there(package):
    module = importlib.import_module(package)
    assert dir(module) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None, name


def test_another_name_is_refused_with_the_names_there_are():
    with pytest.raises(
        AttributeError, match=r"'tfllm.interop' has no attribute 'load'; it has from_huggingface, from_keras_hub"
    ):
        tfllm.interop.load  # noqa: B018
