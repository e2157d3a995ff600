"""No hostile file runs code, writes elsewhere, takes long or much memory, or is answered by more than one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from genrl.cli import main
from genrl.data import Demonstrations, load_images
from genrl.encoders import load_encoder
from genrl.files import load_state
from genrl.models.base import load_model
from genrl.runs.building import build
from genrl.runs.directory import RunDirectory
from genrl.runs.opening import load_config
from genrl.sb3.learner import close
from tests.hostile.corpus import Case, Corpus

PARTS = 8
"""Tests that share all cases, so that several processes can run them."""
SECONDS, MEGABYTES, PATIENCE = 5.0, 1024, 60
"""CPU time and memory of a case; seconds of the clock after which it hangs."""


def built(path: Path) -> None:
    """A run's configuration, up to the learner in its environments."""
    close(build(load_config(RunDirectory.open(path))).env)


def command(*words: str) -> Callable[[Path], None]:
    """A command that must say one sentence, or do its work."""

    def run(path: Path) -> None:
        out, err = io.StringIO(), io.StringIO()
        before = Path.cwd()
        os.chdir(path)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main([words[0], ".", *words[1:]])
        finally:
            os.chdir(before)
        assert "\x1b" not in out.getvalue() + err.getvalue()
        lines = [line for line in err.getvalue().splitlines() if not line.startswith(("genrl: warning: ", "interrupted"))]
        if code:
            raise ValueError("\n".join(line for line in lines if line.startswith("genrl: ")) or f"exit code {code} without a word")

    return run


READERS: dict[str, Callable[[Path], Any]] = {
    "demos": Demonstrations.load,
    "images": load_images,
    "mnist": lambda path: load_images("mnist", path),
    "state": load_state,
    "model": load_model,
    "encoder": load_encoder,
    "config": built,
    "watch": command("watch", "--steps", "1"),
    "resume": command("resume"),
    "report": command("report", "--results", "numbers", "--markdown"),
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there is not looked for elsewhere."""

    def retrieve(*args: Any, **keywords: Any) -> None:
        raise OSError("offline")

    monkeypatch.setattr("pooch.retrieve", retrieve)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "outside").mkdir()
    (folder / "outside" / "file").write_text("untouched")
    return Corpus(folder / "whole", folder / "canary", folder / "outside")


def peak() -> float:
    """Megabytes of the largest resident size since the last :func:`forget`."""
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def forget() -> float:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


@contextlib.contextmanager
def patience() -> Iterator[None]:
    def hang(number: int, frame: Any) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def verdict(case: Case, corpus: Corpus, folder: Path) -> tuple[str, float, float]:
    """What is wrong with how a case was met, its seconds and its megabytes."""
    given = case.make(folder)
    held, start, wrong = forget(), time.process_time(), ""
    try:
        with patience():
            READERS[case.reader](given)
    except (ValueError, FileNotFoundError) as error:  # refusals of the readers are ValueErrors
        said = str(error)
        banned = [word for word in ("\n", "\x1b", "allow_pickle", "weights_only", "Traceback", "GENRL_TRACEBACK") if word in said]
        wrong = f"says {said[:300]!r}" if banned or len(said) > 1000 or ("can" not in said and len(said) < 20) else ""
    except BaseException as error:
        wrong = f"ends in {type(error).__name__}: {str(error)[:200]}"
    seconds, megabytes = time.process_time() - start, peak() - held
    if corpus.canary.exists():
        corpus.canary.unlink()
        wrong += " runs code"
    if [path.name for path in corpus.outside.iterdir()] != ["file"] or (corpus.outside / "file").read_text() != "untouched":
        wrong += " writes elsewhere"
    if seconds > SECONDS:
        wrong += f" takes {seconds:.1f} s"
    if megabytes > MEGABYTES:
        wrong += f" takes {megabytes:.0f} MB"
    return wrong, seconds, megabytes


def judge(cases: list[Case], corpus: Corpus, folder: Path) -> None:
    found, slowest, largest = {}, (0.0, ""), (0.0, "")
    for case in cases:
        place = folder / "case"
        place.mkdir()
        wrong, seconds, megabytes = verdict(case, corpus, place)
        shutil.rmtree(place)
        slowest, largest = max(slowest, (seconds, case.name)), max(largest, (megabytes, case.name))
        if wrong:
            found[case.name] = wrong
    print(f"{len(cases)} cases; slowest {slowest[0]:.2f} s ({slowest[1]}), largest {largest[0]:.0f} MB ({largest[1]})", file=sys.stderr)
    assert not found, f"{len(found)} of {len(cases)}:\n" + "\n".join(f"{name} {wrong}" for name, wrong in found.items())


def test_a_sample_of_hostile_files(corpus: Corpus, tmp_path: Path) -> None:
    judge(list(corpus)[::37], corpus, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_hostile_file(part: int, corpus: Corpus, tmp_path: Path) -> None:
    cases = list(corpus)
    assert len(cases) >= 300
    judge(cases[part::PARTS], corpus, tmp_path)
