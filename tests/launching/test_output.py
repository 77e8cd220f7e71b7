"""What workers print, through the launcher to who reads it, or does not."""

import os
import pty
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from launched import Launched

from tfllm.launching.line_buffer import LineBuffer
from tfllm.launching.nonblocking_writer import NonblockingWriter, standard_writers


def test_lines_are_whole_however_they_come():
    lines = LineBuffer()
    assert lines.feed(b"one\ntw", 0.0) == [b"one"]
    assert lines.feed(b"o\n\n", 0.0) == [b"two", b""]
    assert lines.feed(b"last", 0.0) == []
    assert lines.rest() == [b"last"]
    text = b"".join(b"%d %s\n" % (n, b"\xff\x00\xe4" * (n % 7)) for n in range(300))
    draw = random.Random(0)
    lines, found, left = LineBuffer(), [], text
    while left:
        size = draw.randrange(1, 40)
        found += lines.feed(left[:size], 0.0)
        left = left[size:]
    assert found == text.split(b"\n")[:-1] and lines.rest() == []


def test_a_progress_bar_is_shown_now_and_then_and_at_its_end():
    whole = LineBuffer()
    assert whole.feed(b"10%\r20%\r30%\n", 0.0) == [b"30%"]
    assert whole.feed(b"one\r\ntwo\r", 0.0) == [b"one", b"two"]
    assert whole.feed(b"\nthree\n", 0.0) == [b"three"]  # two was shown
    bar, shown = LineBuffer(interval=5.0), []
    for second in range(12):
        shown += bar.feed(b"\r%2d/12" % second, float(second))
    assert shown == [b" 0/12", b" 5/12", b"10/12"]  # a state is whole once the next begins
    assert bar.feed(b"\r12/12\ndone\n", 12.0) == [b"12/12", b"done"]
    ended = LineBuffer()
    assert ended.feed(b"\r10%\r20%", 0.0) + ended.rest() == [b"10%", b"20%"]
    wiped = LineBuffer()
    assert wiped.feed(b"\r90%\r    \rdone\n", 0.0) == [b"done"]


def test_a_line_without_end_does_not_fill_memory():
    lines = LineBuffer(longest=100)
    assert [len(line) for _ in range(5) for line in lines.feed(b"x" * 60, 0.0)] == [120, 120]
    assert lines.rest() == [b"x" * 60]


def test_many_lines_of_several_workers_do_not_mix(tmp_path):
    script = "for n in range(100_000):\n    print(kind, index, n, 'x' * (n % 50))\n    n % 10 or print(n, file=sys.stderr)"
    done = Launched(tmp_path, script, workers=2).end()
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == 200_000
    for index in range(2):
        mine = [line for line in lines if line.startswith(f"[worker {index}] ")]
        assert mine == [f"[worker {index}] worker {index} {n} {'x' * (n % 50)}" for n in range(100_000)]
        assert done.err.count(f"[worker {index}] ") == 10_000


def test_any_bytes_pass(tmp_path):
    garbage = random.Random(1).randbytes(100_000).replace(b"\r", b"")
    (tmp_path / "garbage").write_bytes(garbage)
    started = Launched(tmp_path, f"sys.stdout.buffer.write(open({str(tmp_path / 'garbage')!r}, 'rb').read())", workers=1)
    out, _ = started.process.communicate(timeout=30)
    assert out == b"".join(b"[worker 0] " + line + b"\n" for line in garbage.split(b"\n"))


def test_a_reader_that_has_gone_ends_the_workers(tmp_path):
    started = Launched(tmp_path, "save()\nwhile True:\n    print('line')\n    time.sleep(.01)")
    started.until("line")
    started.process.stdout.close()
    assert started.process.wait(timeout=20) == 143
    assert b"asked to end" in started.process.stderr.read()


SPEAK = """save(says="x" * 200_000 + "\\n")  # more than a pipe holds
meet()
open(f"{__file__}.here{index}", "w")
while True:
    print("line", "x" * 1000)
    time.sleep(PAUSE)
"""


@pytest.mark.parametrize("own", [False, True], ids=["without SIGHUP", "with SIGHUP"])
def test_a_terminal_that_closes_ends_the_workers_and_they_save(tmp_path, own):
    master, terminal = pty.openpty()
    take = "import fcntl, os, termios; os.setsid(); fcntl.ioctl(1, termios.TIOCSCTTY, 0)" * own
    started = Launched(tmp_path, SPEAK.replace("PAUSE", ".05"), before=take, out=terminal, error=terminal)
    os.close(terminal)
    assert started.wrote("here0", "here1")
    os.close(master)
    assert started.process.wait(timeout=20) == 143
    assert started.wrote("saved0", "saved1", within=0)


def test_a_full_disk_ends_the_workers_and_they_save(tmp_path):
    with Path("/dev/full").open("wb") as full:
        started = Launched(tmp_path, SPEAK.replace("PAUSE", ".05"), out=full)
    assert started.process.wait(timeout=20) == 143
    said = "tfllm launch: asked to end, as output is lost (No space left on device): the workers have 10 s to\n"
    assert started.process.stderr.read().decode() == said
    assert started.wrote("saved0", "saved1", within=0)


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_output_that_nobody_reads_keeps_no_worker_from_saving(tmp_path, kind):
    ours, its = os.pipe() if kind == "pipe" else pty.openpty()
    started = Launched(tmp_path, SPEAK.replace("PAUSE", "0"), out=its, grace=2)
    os.close(its)
    assert started.wrote("here0", "here1")
    time.sleep(0.5)  # until nothing takes any more
    started.process.terminate()
    assert started.wrote("saved0", "saved1", within=1.5)
    assert started.process.wait(timeout=5) == 143
    os.close(ours)


@pytest.mark.parametrize("kind", ["blocking", "non-blocking"])
def test_a_slow_reader_gets_every_line(tmp_path, kind):
    ours, its = os.pipe()
    os.set_blocking(its, kind == "blocking")
    script = "for n in range(20_000):\n    print(n, 'x' * 100)"
    started = Launched(tmp_path, script, out=its, environment={"PYTHONUNBUFFERED": "1"})
    os.close(its)
    time.sleep(0.5)  # until nothing takes any more
    found = b""
    while data := os.read(ours, 1 << 15):
        found += data
        time.sleep(0.002)
    os.close(ours)
    assert started.process.wait(timeout=20) == 0
    lines = found.decode().splitlines()
    for index in range(2):
        mine = [line for line in lines if line.startswith(f"[worker {index}] ")]
        assert mine == [f"[worker {index}] {n} {'x' * 100}" for n in range(20_000)]
    assert len(lines) == 40_000


def test_a_reader_that_lags_behind_gets_the_last_words(tmp_path):
    ours, its = os.pipe()
    script = "save()\nopen(f'{__file__}.here', 'w')\nprint(('x' * 99 + '\\n') * 1000)\nsleep()"
    started = Launched(tmp_path, script, workers=1, out=its)
    os.close(its)
    assert started.wrote("here")
    time.sleep(0.3)
    started.process.terminate()
    assert started.wrote("saved0")
    time.sleep(0.2)
    with os.fdopen(ours) as rest:
        assert rest.read().endswith("[worker 0] saved\n")
    assert started.process.wait(timeout=20) == 143


def test_a_terminal_that_nobody_reads_holds_nobody_up(monkeypatch):
    ours, its = pty.openpty()
    before = len(list(Path("/proc/self/fd").iterdir()))

    def too_long(*_):
        raise RuntimeError("it waits")

    with os.fdopen(its, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        with standard_writers() as (out, _):
            out.put(b"a line\n" * 100_000)
            signal.signal(signal.SIGALRM, too_long)
            signal.setitimer(signal.ITIMER_REAL, 2)
            try:
                out.write()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
            assert out and os.read(ours, 8) == b"a line\r\n"
            assert os.get_blocking(its)
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    os.close(ours)


def test_a_descriptor_that_takes_nothing_for_once_is_not_lost(monkeypatch):
    ours, its = os.pipe()
    writer, write = NonblockingWriter(its), os.write

    def another_was_faster(*_):
        monkeypatch.setattr(os, "write", write)
        raise BlockingIOError

    writer.put(b"a line\n")
    monkeypatch.setattr(os, "write", another_was_faster)
    writer.write()
    assert writer and not writer.error
    writer.write()
    assert os.read(ours, 100) == b"a line\n" and not writer
    for end in (ours, its):
        os.close(end)


def test_what_nobody_takes_is_dropped_in_whole_lines():
    ours, its = os.pipe()
    writer = NonblockingWriter(its, max_bytes=100_000)
    writer.put(b"a line\n" * 10_000)
    writer.write()
    assert writer and not writer.full
    writer.put(b"another\n" * 20_000)
    assert writer.full
    writer.drop_pending()
    writer.put(b"the last\n")
    os.set_blocking(ours, False)
    found = b""
    while writer:
        found += os.read(ours, 1 << 20)
        writer.write()
    *before, note, last, nothing = (found + os.read(ours, 1 << 20)).split(b"\n")
    assert set(before) == {b"a line"} and 9_000 < len(before) < 10_000
    assert (note, last, nothing) == (b"tfllm launch: here is missing what nobody took", b"the last", b"")
    for end in (ours, its):
        os.close(end)


@pytest.mark.parametrize(
    ("before", "out", "error"),
    [
        ("import io, sys; sys.stdout = io.StringIO()", 5_000, 2),
        ("import sys; sys.stdout = sys.stderr", 0, 5_002),
        ("import os, sys; os.close(1); sys.stdout = None", 0, 2),  # what `>&-` does
    ],
    ids=["no descriptor", "the same", "closed"],
)
def test_standard_output_may_be_another(tmp_path, before, out, error):
    script = "for n in range(5_000):\n    print('x' * 99)\nfor n in range(2):\n    print(n, file=sys.stderr)"
    done = Launched(tmp_path, script, before=before, workers=1).end()
    assert (done.code, done.out.count("\n"), done.err.count("\n")) == (0, out, error), done.err[-999:]
