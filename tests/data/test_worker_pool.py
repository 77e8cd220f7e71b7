"""Work on several processes: all results, no TensorFlow, no hanging when one dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfllm.data.preparation.worker_pool import WorkerError, run


def test_results_are_those_of_a_loop():
    jobs = [b"x" * 200_000 + bytes([number]) for number in range(20)]  # larger than a pipe holds
    assert sorted(run(bytes.upper, jobs, processes=3)) == sorted(job.upper() for job in jobs)
    assert list(run(bytes.upper, [], processes=3)) == []


def test_workers_are_other_processes_and_know_no_tensorflow():
    code = "[__import__('os').getpid(), 'tensorflow' in __import__('sys').modules, __import__('time').sleep(.2)]"
    __import__("tensorflow")
    seen = list(run(eval, [code] * 8, processes=2))
    assert len({pid for pid, _, _ in seen}) == 2
    assert os.getpid() not in {pid for pid, _, _ in seen}
    assert not any(loaded for _, loaded, _ in seen)


def test_jobs_are_taken_as_they_are_needed():
    taken = []
    results = run(abs, (taken.append(job) or job for job in range(100)), processes=2)
    next(results)
    assert len(taken) <= 4
    results.close()


@pytest.mark.parametrize("code", ["__import__('os').kill(__import__('os').getpid(), 9)", "__import__('os')._exit(3)"])
def test_a_dead_worker_is_noticed_and_named(code):
    began = time.monotonic()
    how = "SIGKILL" if "kill" in code else "exit code 3"
    with pytest.raises(WorkerError, match=rf"ended with .*{how}.* while it worked on __import__"):
        list(run(eval, ["1", code, "1", "1"], processes=2))
    assert time.monotonic() - began < 30


def test_what_the_function_raises_is_raised_here():
    with pytest.raises(ValueError, match="invalid literal") as error:
        list(run(int, ["1", "2", "x", "3"], processes=2))
    assert "in worker process" in error.value.__notes__[0]
    with pytest.raises(ValueError, match="invalid literal"):
        list(run(int, ["1", "x"], processes=1))


def test_a_class_that_cannot_be_imported_is_explained(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from functools import partial\n"
        "from tfllm.data.preparation.worker_pool import run\n"
        "class Mine:\n"
        "    def call(self, job): return job\n"
        "print(list(run(Mine().call, [1, 2], processes=2)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=_environment())
    assert "must be of a class that can be imported" in done.stderr


def test_a_script_needs_no_main_guard_and_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from tfllm.data.preparation.worker_pool import run\nprint('started')\nprint(sorted(run(abs, [-1, -2], processes=2)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=_environment())
    assert done.stdout == "started\n[1, 2]\n", done.stderr


def test_workers_die_with_their_caller(tmp_path):
    script = tmp_path / "script.py"
    code = "(__import__('os').write(1, b'%d\\n' % __import__('os').getpid()), __import__('time').sleep(60))"
    script.write_text(f"from tfllm.data.preparation.worker_pool import run\nlist(run(eval, [{code!r}] * 2, processes=2))\n")
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=_environment())
    workers = [int(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while any(map(_alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
