"""What a file says is not obeyed, and what a machine can't do is one sentence."""

from __future__ import annotations

import errno
import json
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrl.cli import main
from genrl.cli._words import in_one_sentence
from genrl.errors import RunError, command, printable
from genrl.reading import FileError, check_decoded, open_appending, read_bytes
from genrl.runs import ExploreConfig
from genrl.runs.directory import RunDirectory
from tests.studies.synthetic import make_study

SHADOWS = ("torch", "tyro", "numpy", "gymnasium", "json", "socket", "selectors", "genrl_envs")
GENRL = "import sys; sys.argv[0] = 'genrl'; from genrl.cli import main; sys.exit(main())"


def shadowed(folder: Path, canary: Path) -> None:
    """Modules of the names of libraries, which leave a canary."""
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"open({str(canary)!r}, 'w').close()\nraise SystemExit('it ran')\n")
    (folder / "matplotlibrc").write_text("backend: module://evil\ntext.usetex: True\n")
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w').close()\n")


@pytest.mark.parametrize("start", [["-m", "genrl"], ["-P", "-c", GENRL]], ids=["python -m genrl", "genrl"])
@pytest.mark.parametrize("words", [["report", "."], ["watch", "."], ["resume", "."]], ids=" ".join)
def test_no_file_of_the_current_folder_takes_the_place_of_a_library(start: list[str], words: list[str], tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", ("car",), ("none", "vime"), 1, episodes=5)
    folder = tmp_path / "study" if words[0] == "report" else study.cells[0].path
    shadowed(folder, tmp_path / "canary")
    done = subprocess.run([sys.executable, *start, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert not (tmp_path / "canary").exists()
    assert "Traceback" not in done.stderr
    if words[0] == "report":
        assert done.returncode == 0, done.stderr
    else:
        assert done.stderr.startswith("genrl: ") and done.stderr.count("\n") == 1


def test_a_control_character_is_written_out() -> None:
    assert printable("a\x1b[2J\x07\u202e\x9bé, 95 % ± 3") == r"a\x1b[2J\x07\u202e\x9bé, 95 % ± 3"
    assert str(RunError("no task 'a\x1b]0;owned\x07'")) == r"no task 'a\x1b]0;owned\x07'"


@pytest.mark.parametrize("name", ["my runs/first", "a'b", 'a"b', "$(touch x)", "a;b", "a\nb", "a\x1b[2Jb", "é", "-rf"])
def test_an_advised_command_is_read_back_by_a_shell(name: str) -> None:
    typed = command("resume", name)
    assert typed.isprintable()
    read = subprocess.run(["bash", "-c", f"printf '%s\\0' {typed}"], capture_output=True, check=True).stdout
    assert read.decode().split("\0")[:-1] == ["genrl", "resume", name]
    if name.isprintable():
        assert shlex.split(typed) == ["genrl", "resume", name]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"env_id": "evil:X-v0"},
        {"entry_point": "os"},
        {"any": "evil:X"},
        {"deep": [{"a": ["evil:X"]}]},
        {"xml_file": "x.xml"},
        {"a": "/dev/zero"},
    ],
)
def test_keywords_that_could_import_or_read_are_asked_for(kwargs: dict[str, Any]) -> None:
    config = ExploreConfig(env="HalfCheetah-v5", env_kwargs=kwargs)
    with pytest.raises(RunError, match="if you trust it, add --imports"):
        config.check_imports()
    word = next(word for word in ("evil:X-v0", "os", "evil:X", "x.xml", "/dev/zero") if word in json.dumps(kwargs))
    config.check_imports([word])


def test_numbers_of_environments_and_threads_are_bounded() -> None:
    for wrong in ({"n_envs": 1_000_000}, {"threads": 1_000_000}, {"history": 10_000}):
        with pytest.raises(RunError, match="but must be at most"):
            ExploreConfig(**wrong)


def test_results_are_written_under_the_study_s_own_name_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(tmp_path / "study", ("car",), ("none", "vime"), 1, episodes=5)
    about = json.loads((tmp_path / "study/study.json").read_text())
    for name in ("../../stolen", "/tmp/stolen", "..", "a/b"):
        (tmp_path / "study/study.json").write_text(json.dumps(about | {"name": name}))
        assert main(["report", str(tmp_path / "study"), "--results", str(tmp_path / "results")]) == 2
        assert "is not what genrl wrote" in capsys.readouterr().err
    (tmp_path / "study/study.json").write_text(json.dumps(about | {"name": "v1.2"}))
    assert main(["report", str(tmp_path / "study"), "--results", str(tmp_path / "results")]) == 0
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["v1.2.csv", "v1.2.json"]


def test_nothing_is_appended_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "log").symlink_to("victim")
    with pytest.raises(FileError, match="it is a link"):
        open_appending(tmp_path / "log")
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_bomb_is_what_holds_far_more_than_its_size() -> None:
    check_decoded("x", 256 * 2**20, 1)
    check_decoded("x", 2**31, 2**25)
    for decoded, stored in ((256 * 2**20 + 1, 2**20), (2**31 + 1, 2**31)):
        with pytest.raises(FileError, match=r"declares .* MiB of data"):
            check_decoded("x", decoded, stored)


def test_a_growing_file_is_read_no_further_than_its_bound() -> None:
    """A file of /proc says that it has no bytes."""
    with pytest.raises(FileError, match="at most 10 bytes are read"):
        read_bytes("/proc/self/status", 10)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (RunError("no"), 2, "no"),
        (MemoryError(), 1, "there is not enough memory; take"),
        (MemoryError("Unable to allocate 7 TiB"), 1, "there is not enough memory (Unable to allocate 7 TiB); take"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 4 TB. Error code 12"), 1, "there is not enough memory (DefaultCPU"),
        (OSError(errno.ENOSPC, "No space left on device", "a/result.json"), 1, "a/result.json: No space left on device; free some space"),
        (OSError(errno.EROFS, "Read-only file system", "a"), 1, "a: Read-only file system; choose a folder"),
        (OSError(errno.EMFILE, "Too many open files"), 1, "Too many open files; type `ulimit -n 4096`"),
        (ValueError("set allow_pickle=True"), 1, "ValueError: a file holds what is never loaded; to see where"),
        (KeyError("x"), 1, "KeyError: 'x'; to see where it comes from, type GENRL_TRACEBACK=1"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_end_is_one_sentence(error: Exception, code: int, sentence: str) -> None:
    found, said = in_one_sentence(error)
    assert found == code and said.startswith(sentence) and "\n" not in said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disk_that_fails_at_the_result_is_one_sentence(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from genrl.files import write_whole

    def fails(path: Path, content: bytes) -> None:
        if Path(path).name == "result.json":
            raise OSError(number, os.strerror(number), str(path))
        write_whole(path, content)

    monkeypatch.setattr("genrl.files.write_whole", fails)
    words = "explore --env Pendulum-v1 --learner ppo --reward none --steps 64 --learner.n-steps 64 --learner.n-epochs 1"
    assert main([*words.split(), "--eval-episodes", "0", "--no-pictures", "--out", str(tmp_path / "run")]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genrl: ")]
    assert len(said) == 1 and f"result.json: {os.strerror(number)}" in said[0]
    assert RunDirectory(tmp_path / "run").checkpoint.is_file()


def test_a_command_without_descriptors_is_one_sentence(tmp_path: Path) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    words = ["explore", "--env", "Pendulum-v1", "--learner", "ppo", "--reward", "none", "--n-envs", "60", "--subproc", "--out", "run"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", GENRL, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200, preexec_fn=few
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("genrl: ") and "warning" not in line]
    assert done.returncode == 1 and len(said) == 1, done.stderr
    assert "Too many open files" in said[0]


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "model.safetensors", "progress.csv", "result.json"])
def test_a_full_disk_in_generate_is_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from genrl.files import write_whole

    def fails(path: Path, content: bytes) -> None:
        if Path(path).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_whole(path, content)

    for module in ("genrl.files", "genrl.runs.directory", "genrl.generation.directory"):
        monkeypatch.setattr(f"{module}.write_whole", fails)
    np.savez(tmp_path / "x.npz", images=np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8))
    words = f"generate --model vae --epochs 1 --judge-images 0 --no-pictures --data {tmp_path / 'x.npz'} --out {tmp_path / 'run'}"
    assert main(words.split()) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genrl: ")]
    assert len(said) == 1 and f"{name}: No space left on device; free some space" in said[0]
