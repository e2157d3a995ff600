"""Every executor maps a function over items, and a worker that dies takes one item with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genrl.errors import RunError
from genrl.studies import InProcess, Processes, Ray, WorkerDied
from tests.studies import jobs

ROOT = Path(__file__).parents[2]


def wait_for(folder: Path, pattern: str, number: int, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while len(list(folder.glob(pattern))) < number:
        assert time.monotonic() < deadline, f"no {number} of {pattern} after {seconds} s"
        time.sleep(0.02)


class TestInProcess:
    def test_gives_each_item_with_its_result(self):
        assert list(InProcess().map(jobs.square, [3, 1, 2])) == [(3, 9), (1, 1), (2, 4)]


class TestProcesses:
    def test_gives_each_item_with_its_result(self):
        assert sorted(Processes(2).map(jobs.square, range(6))) == [(i, i * i) for i in range(6)]

    def test_each_item_has_a_process_of_its_own(self):
        processes = [process for _, process in Processes(2).map(jobs.process, range(4))]
        assert len({os.getpid(), *processes}) == 5

    def test_a_killed_worker_is_replaced_and_takes_one_item_with_it(self):
        found = dict(Processes(2).map(jobs.kill_on_three, range(6)))
        assert found.pop(3) == WorkerDied("its process was ended by SIGKILL")
        assert found == {i: i for i in (0, 1, 2, 4, 5)}

    def test_a_worker_that_leaves_is_one_that_died(self):
        assert dict(Processes(1).map(jobs.leave_on_three, [3, 4])) == {3: WorkerDied("its process left with exit code 7"), 4: 4}

    def test_workers_have_the_threads_that_they_are_given(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        code = (
            "from genrl.studies import Processes; from tests.studies import jobs\n"
            "if __name__ == '__main__': print(list(Processes(1, threads=1).map(jobs.threads, [0])))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
        assert done.stdout.strip() == "[(0, ('1', 1))]"

    def test_closing_lets_the_workers_save_and_waits_for_them(self, tmp_path):
        mapped = Processes(2).map(jobs.save_when_asked, [tmp_path, tmp_path])
        process = iter(mapped)
        import threading

        threading.Timer(
            0.0, lambda: (wait_for(tmp_path, "*.started", 2), os.kill(int(next(tmp_path.glob("*.started")).stem), signal.SIGTERM))
        ).start()
        assert next(process)[1] == "saved"
        mapped.close()
        assert len(list(tmp_path.glob("*.saved"))) == 2

    def test_workers_end_when_their_parent_is_killed(self, tmp_path):
        code = (
            "import sys; from pathlib import Path; from genrl.studies import Processes; from tests.studies import jobs\n"
            "folder = Path(sys.argv[1])\n"
            "if __name__ == '__main__': list(Processes(2).map(jobs.save_when_asked, [folder, folder]))"
        )
        script = tmp_path / "parent.py"
        script.write_text(code)
        parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
        wait_for(tmp_path, "*.started", 2)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        wait_for(tmp_path, "*.saved", 2)


def test_a_missing_ray_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match=r"needs ray, which is not installed; type: pip install 'genrl-toolkit\[ray\]'"):
        Ray()
