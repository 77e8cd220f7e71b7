r"""Cuts the output of a process into lines, so that several processes can share a terminal.

Input: bytes, in parts of any size. Output: complete lines.

one\ntw  o\n               ->  one  two
10%\r20%\r30%\n            ->  10%  30%     a progress bar: some of its states, and the last
"""

from __future__ import annotations


class LineBuffer:
    """Collects bytes and returns complete lines.

    Args:
        interval: seconds between two states of a progress bar (a line that overwrites itself).
        longest: bytes of a line; a longer line is returned in parts.
    """

    def __init__(self, *, interval: float = 5.0, longest: int = 1 << 20):
        self._interval, self._longest = interval, longest
        self._open, self._shown, self._next = b"", b"", 0.0

    def feed(self, data: bytes, now: float) -> list[bytes]:
        """Adds bytes; returns the lines that are complete now.

        Args:
            data: the bytes.
            now: the time in seconds, of any clock.
        """
        *whole, self._open = (self._open + data).split(b"\n")
        lines = []
        for line in whole:
            state = _last_state(line)
            if not state or state != self._shown:
                lines.append(state)
            self._shown = b""
        before, overwritten, newest = self._open.rpartition(b"\r")
        if overwritten:
            state = _last_state(before)
            self._open = state + b"\r" + newest  # older states are not kept
            if state and state != self._shown and now >= self._next:
                lines.append(state)
                self._shown, self._next = state, now + self._interval
        if len(self._open) > self._longest:
            lines.append(self._open)
            self._open = b""
        return lines

    def rest(self) -> list[bytes]:
        """Returns the last line, if no newline ended it."""
        return self.feed(b"\n", 0.0) if self._open else []


def _last_state(line: bytes) -> bytes:
    return next((state for state in reversed(line.split(b"\r")) if state.strip()), b"")
