"""Whether the advice of a message works: for the tests that follow it, which test_advice_is_followed.py counts."""

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest


def follow(words: str, wrong: Callable[[], Any], mended: Callable[[], Any]) -> None:
    """`wrong` fails, or warns, with these words of the message; what they advise is done by `mended`, whose result is right.

    Args:
        words: as the source has them, between two places that are filled in.
        mended: leaves something true, and warns of nothing.
    """
    with warnings.catch_warnings(action="error", category=UserWarning):
        with pytest.raises(Exception, match=re.escape(words)):
            wrong()
        assert mended()
