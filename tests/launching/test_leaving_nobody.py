"""Children, guards and killed launchers: who ends with whom."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from launched import CHILD, COUNT, LAUNCH, Launched, gone


def children(launched: Launched) -> list[int]:
    pid = launched.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill_the_guard(launched: Launched) -> None:
    guards = [child for child in children(launched) if b"-ISc" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(guards) == 1
    os.kill(guards[0], signal.SIGKILL)
    assert gone(str(guards[0]))


def test_children_of_a_worker_end_with_it(tmp_path):
    for end in ("", "os.kill(os.getpid(), 9)"):
        done = Launched(tmp_path, CHILD + end).end()
        assert gone(*re.findall(r"child (\d+)", done.out))


def test_a_child_that_left_its_group_holds_nobody_up(tmp_path):
    script = CHILD.replace("time.sleep(60)']", "time.sleep(60)'], start_new_session=True") + "print('unterminated', end='')"
    start = time.monotonic()
    done = Launched(tmp_path, script).end()
    left = re.findall(r"child (\d+)", done.out)
    for child in left:
        os.kill(int(child), signal.SIGKILL)
    assert len(left) == 2 and done.code == 0 and time.monotonic() - start < 8
    assert done.out.count("] unterminated\n") == 2


def test_sigterm_goes_to_workers_and_not_to_their_children(tmp_path):
    handler = "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), sys.exit(143 if child.poll() is None else 1)))\n"
    started = Launched(tmp_path, CHILD + handler + "sleep()")
    pids = started.until(r"(?:child|sleeps) (\d+)", 4)
    started.process.terminate()
    assert started.end().code == 143 and gone(*pids)


def test_nothing_outlives_a_launcher_that_is_killed(tmp_path):
    started = Launched(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + CHILD + "sleep()")
    pids = started.until(r"(?:child|sleeps) (\d+)", 4)
    assert not gone(*pids, within=0.0)
    for child in children(started):
        os.kill(child, signal.SIGTERM)  # the guard too: a batch system may send it to every process
    time.sleep(0.2)
    started.process.kill()
    assert gone(*pids)
    started.end()


def test_a_run_outlives_its_guard(tmp_path):
    script = COUNT + "if count == 1:\n    print('here', flush=True)\n    time.sleep(1)\nsys.exit(2 - count)"
    started = Launched(tmp_path, script, restarts=1)
    started.until("here", 2)
    kill_the_guard(started)
    assert started.end().code == 0 and "starting all again" in started.err


def test_a_worker_is_started_again_though_the_guard_was_killed(tmp_path):
    script = """
again = f"{__file__}.again"
if kind == "chief":
    while not os.path.exists(again):
        time.sleep(.05)
    sys.exit()
if kind == "worker" and os.path.exists(f"{__file__}.killed"):
    open(again, "w")
print("here", flush=True)
while kind == "worker" and not os.path.exists(f"{__file__}.killed"):
    time.sleep(.05)
os.path.exists(again) or kind == "ps" or os.kill(os.getpid(), 9)
sleep()
"""
    started = Launched(tmp_path, script, workers=1, parameter_servers=1, restarts=1)
    started.until("here", 2)
    kill_the_guard(started)
    (tmp_path / "worker.py.killed").touch()
    done = started.end()
    assert "worker 0 ended with exit code 137 (signal 9, Killed): starting it again, 0 restarts left" in done.err
    assert done.code == 0, done.err


def test_nothing_outlives_a_launcher_that_is_killed_while_it_starts(tmp_path):
    (tmp_path / "marked.py").write_text("import time; time.sleep(60)")
    command = [sys.executable, "-c", LAUNCH, '{"workers": 4}', str(tmp_path / "marked.py")]

    def marked() -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found += [path.parent.name] if str(tmp_path / "marked.py").encode() in path.read_bytes() else []
            except OSError:
                continue
        return found

    seen = 0
    for delay in range(12):
        process = subprocess.Popen(command, start_new_session=True)
        time.sleep(0.06 + 0.015 * delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        left = marked()
        seen += len(left)
        assert gone(*left)
    assert seen and not marked()
