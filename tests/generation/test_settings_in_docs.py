"""docs/generation.md and docs/serving-contract.md name every setting, with its default and the values it accepts."""

from pathlib import Path

import pytest

from tfllm.generation.config import PER_ROW, GenerationConfig
from tfllm.generation.setting import settings_of

DOCS = Path(__file__).parents[2] / "docs"
SETTINGS = settings_of(GenerationConfig)


def cells(page: str, name: str) -> list[str]:
    """The cells of the one row of five cells, in a page's tables, that has `name` in a cell of its own."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    [row] = [row for row in rows if len(row) == 5 and f"`{name}`" in row]
    return row


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda each: each.name)
def test_generation_has_a_row_for_every_setting(setting):
    wanted = [
        f"`{setting.name}`",
        f"`{setting.default!r}`",
        str(setting.accepted),
        "yes" if setting.per_row else "",
        setting.help,
    ]
    # A test of a page that is written by hand: on failure, this is the row to write.
    assert cells("generation.md", setting.name) == wanted, f"| {' | '.join(wanted)} |"


@pytest.mark.parametrize("setting", PER_ROW, ids=lambda each: each.name)
def test_the_contract_has_an_input_for_every_setting_of_a_row(setting):
    accepted = {
        "max_new_tokens": "an integer from 1 to the larger of the model's `max_length` and the export's `max_new_tokens`",
        "min_new_tokens": "an integer from 0 to `max_new_tokens`",
        "seed": "any integer",
    }
    wanted = ["in", f"`{setting.name}`", f"{setting.number.dtype} [B]", accepted.get(setting.name, str(setting.number))]
    assert cells("serving-contract.md", setting.name) == [*wanted, f"`{setting.default!r}`"]
