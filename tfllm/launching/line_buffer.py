r"""Output of a process as it comes in, whole lines out, so that several processes can share a terminal.

one\ntw  o\n               ->  one  two
10%\r20%\r30%\n            ->  10%  30%     a line that overwrites itself: its states now and then, and the last
"""

from __future__ import annotations


class Lines:
    """Cuts bytes into lines.

    Args:
        interval: seconds between states of a line that overwrites itself, a progress bar's.
        longest: bytes of a line; a longer one comes in pieces.
    """

    def __init__(self, *, interval: float = 5.0, longest: int = 1 << 20):
        self._interval, self._longest = interval, longest
        self._open, self._shown, self._next = b"", b"", 0.0

    def feed(self, data: bytes, now: float) -> list[bytes]:
        """The lines that can be shown once `data` has come, `now` in seconds."""
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
        """The last line, where no newline ended it."""
        return self.feed(b"\n", 0.0) if self._open else []


def _last_state(line: bytes) -> bytes:
    return next((state for state in reversed(line.split(b"\r")) if state.strip()), b"")
