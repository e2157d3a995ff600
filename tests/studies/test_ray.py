"""A small study on a real Ray of this machine, one of whose workers is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from genrl.studies import InProcess, Ray, WorkerDied, run_study
from genrl.studies.cells import CellState
from tests.studies import jobs, tiny

pytest.importorskip("ray", reason="the extra ray is not installed")
psutil = pytest.importorskip("psutil")


def kill_a_worker(directory: Path, killed: list[str], over: threading.Event) -> None:
    """Once a cell has saved a checkpoint, however long Ray takes to start on a busy machine."""
    while not over.is_set():
        for checkpoint in directory.glob("cells/*/checkpoint.safetensors"):
            runner = CellState(checkpoint.parent).read()["runner"]
            if runner is not None:
                os.kill(runner["pid"], signal.SIGKILL)
                killed.append(checkpoint.parent.name)
                return
        time.sleep(0.01)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], set[str]]:
    """The directory of a study of Ray, the cell that was killed, and the addresses at which Ray listened."""
    directory = tmp_path_factory.mktemp("ray") / "study"
    killed: list[str] = []
    addresses: set[str] = set()
    over = threading.Event()
    thread = threading.Thread(target=kill_a_worker, args=(directory, killed, over))
    thread.start()
    try:
        assert run_study(tiny.study(directory), Ray(workers=2), ended=lambda cell, outcome: addresses.update(listening()))
    finally:
        over.set()
        thread.join()
    return directory, killed, addresses


def listening() -> set[str]:
    """Local addresses of the listening sockets of all processes of Ray."""
    found = set()
    for process in psutil.process_iter():
        try:
            if any(name in " ".join(process.cmdline()) for name in ("/ray/", "ray::")):
                found |= {connection.laddr.ip for connection in process.net_connections() if connection.status == psutil.CONN_LISTEN}
        except psutil.Error:  # it has ended
            continue
    return found


def test_nothing_is_lost_and_the_numbers_are_those_of_this_process(trained, tmp_path):
    directory, killed, _ = trained
    assert run_study(tiny.study(tmp_path / "here"), InProcess())
    assert tiny.numbers(directory) == tiny.numbers(tmp_path / "here")
    states = {path.stem: json.loads(path.read_text())["failures"] for path in (directory / "state").glob("*.json")}
    assert len(killed) == 1
    assert states[killed[0]] == ["its process died on Ray (WorkerCrashedError)"]


def test_no_server_of_ray_listens_to_other_machines(trained):
    assert {address.removeprefix("::ffff:") for address in trained[2]} == {"127.0.0.1"}


def test_a_worker_that_dies_takes_one_item_with_it():
    found = dict(Ray(workers=1).map(jobs.kill_on_three, [3, 4]))
    assert found == {3: WorkerDied("its process died on Ray (WorkerCrashedError)"), 4: 4}


def test_sigterm_interrupts_the_work_as_it_does_without_ray():
    """Ray's own handler printed a stack and aborted, so that no run was asked to save, and no sentence said how to go on."""
    program = """
import os, signal
from genrl.runs.interrupt import terminable
from genrl.studies import Ray
from tests.studies import jobs
try:
    with terminable():
        for _ in Ray(workers=1).map(jobs.square, [3, 4]):
            os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    print("interrupted")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (ended.returncode, ended.stdout) == (0, "interrupted\n"), ended.stderr
