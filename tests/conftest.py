"""For all tests: tfllm before TensorFlow, which it asks to run oneDNN; and those that start processes first.

Two workers take files in this order (`make test`). Long ones at the end would leave one of them without work.
"""

import pytest

import tfllm  # noqa: F401

FIRST = ("distributed", "end_to_end", "parity", "exporting", "test_finetuning.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(config.rootpath / "tests").parts[0], len(FIRST)))
