"""For all tests: tfllm before TensorFlow, which it asks to run oneDNN; and those that start processes first.

Two workers take files in this order (`make test`). Long ones at the end would leave one of them without work.
"""

import gc
from collections.abc import Iterator

import pytest

import tfllm  # noqa: F401

# A file's garbage is a few small models: it is collected behind the file.
gc.set_threshold(200_000, 50, 1000)

FIRST = ("distributed", "end_to_end", "parity", "exporting", "test_finetuning.py")


@pytest.fixture(scope="module", autouse=True)
def _looked_through_once() -> Iterator[None]:
    """Of a file: else each full collection goes through what all files left behind, for ten seconds in the end."""
    yield
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(config.rootpath / "tests").parts[0], len(FIRST)))
