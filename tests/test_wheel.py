"""The wheel has every file of the packages, and works where there is no checkout."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import gymnasium
import numpy as np
import pytest

import genrl  # noqa: F401  (registers the tasks)

ROOT = Path(__file__).parents[1]
SHOW = (
    "import genrl, genrl_envs, gymnasium; print(genrl.__file__, genrl_envs.__file__, *(n for n in gymnasium.registry if n[:6] == 'genrl/'))"
)
STUDY = """
study.seeds = 1
run.steps = 500
run.learner_kwargs.n_steps = 250
tasks.car.env = "genrl/SparseMountainCar-v0"
methods.rnd.reward = "rnd"
"""


def run(*command: str | Path, folder: Path) -> str:
    """What a command prints. Python finds nothing of the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def files() -> list[str]:
    """Files of the two packages that git tracks or would add."""
    if not (ROOT / ".git").exists():
        pytest.skip("git says which files the packages have, and this is no checkout")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "genrl", "envs", folder=ROOT)
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(files, tmp_path_factory) -> Path:
    """Built from a copy, because setuptools takes what an earlier build has left, and leaves its own."""
    source = tmp_path_factory.mktemp("source")
    for name in (*files, "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", folder=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Where the commands run: outside the checkout, with nothing in it but a demonstrations file, images and a study."""
    folder: Path = tmp_path_factory.mktemp("work")
    shutil.copy(ROOT / "demos" / "invertedpendulum.hdf5", folder)
    np.savez(folder / "noise.npz", images=np.random.default_rng(0).integers(0, 256, (64, 8, 8), dtype=np.uint8))
    (folder / "tiny.toml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def installed(wheel, work, tmp_path_factory) -> Callable[[str], str]:
    """Runs a command line in a new environment that has the wheel.

    So that nothing is downloaded, a .pth file lends it this environment's libraries. There is no genrl among them, because an editable
    install only links it.
    """
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False)
    run(sys.executable, "-m", "pip", "--python", place / "bin/python", "install", "--no-deps", "--no-index", wheel, folder=place)
    (packages,) = place.glob("lib/*/site-packages")
    (packages / "libraries.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))

    def command(line: str) -> str:
        program, *words = shlex.split(line)
        return run(place / "bin" / program, *words, folder=work)

    return command


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel, files):
    with ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == {re.sub("^envs/", "genrl_envs/", name) for name in files}


@pytest.mark.slow
def test_the_installed_packages_are_the_wheels_and_register_every_task(installed):
    installed_at, envs_at, *tasks = installed(f"python -c {shlex.quote(SHOW)}").split()
    assert "/environment" in installed_at and installed_at.endswith("/site-packages/genrl/__init__.py")
    assert envs_at == installed_at.replace("/genrl/", "/genrl_envs/")
    assert tasks == [name for name in gymnasium.registry if name.startswith("genrl/")] != []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "made"),
    [
        ("explore --env genrl/SparseMountainCar-v0 --steps 500 --learner.n-steps 250", "learning_curve.png"),
        ("imitate --demos invertedpendulum.hdf5 --steps 500 --clone 1 --n-envs 1 --learner.n-steps 250", "discriminator.png"),
        ("generate --data noise.npz --model.latent 4 --model.hidden 16 --epochs 1 --batch-size 16 --judge-images 0", "samples.png"),
    ],
)
def test_the_installed_command_trains(installed, work, line, made):
    out = line.split()[0]
    installed(f"genrl {line} --out {out}")
    assert json.loads((work / out / "result.json").read_text())["status"] == "finished"
    assert (work / out / made).is_file()


@pytest.mark.slow
def test_the_installed_command_reports_a_study(installed, work):
    installed("genrl study tiny.toml --out study --workers 1")
    installed("genrl report study")
    assert "<svg" in (work / "study" / "report.html").read_text()


@pytest.mark.slow
def test_a_script_of_ones_own_explores_a_task_of_ones_own(installed, work):
    """Two commands: pip install, and python. The script is the notebook's."""
    notebook = json.loads((ROOT / "docs/start/tutorial_curiosity.ipynb").read_text())
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert "20_000" in code
    (work / "my_script.py").write_text(code.replace("20_000", "8_192"))
    printed = installed("python my_script.py")
    assert [line.partition(":")[0] for line in printed.splitlines() if "the top in" in line] == ["its own noise", "VIME", "held noise"]


@pytest.mark.slow
def test_the_installed_command_explores_a_task_of_ones_own_and_prints_what_runs(installed, work):
    cell = json.loads((ROOT / "docs/start/tutorial_curiosity.ipynb").read_text())["cells"][2]
    (work / "my_tasks.py").write_text("".join(cell["source"]))
    printed = installed("genrl explore --env my_tasks:Valley-v0 --learner trpo --reward vime --steps 2048 --out valley")
    assert printed.splitlines()[-1] == "watch it: genrl watch valley --imports my_tasks"
    assert "genrl imitate --demos" in installed("genrl record --run valley --out valley.npz --episodes 1 --imports my_tasks")
