"""What README and the site say to type works: Python blocks run (smaller), commands parse, links lead somewhere."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMALLER = [
    (r"learn\([\d_]+", "learn(300"),
    (r"epochs=\d+", "epochs=1, progress=False"),
    (r'\("mnist"\)\.train', '("mnist").train[:600]'),
    (r"n_steps=\d+, batch_size=\d+, ", ""),
    (
        r"Practice\(Ensemble\((.*?)\)\)\)\n",
        r'Practice(Ensemble(\1), dreamed_steps=256, every=64, n_envs=8, fit={"max_steps": 5}))' + "\n",
    ),
    (r'PPO\("MlpPolicy", (.*)\)\n', r'PPO("MlpPolicy", \1, n_steps=64, batch_size=64, n_epochs=1)' + "\n"),
    (r'PPO\("CnnPolicy", (.*)\)\n', r'PPO("CnnPolicy", \1, n_steps=64, batch_size=64, n_epochs=1)' + "\n"),
]
"""How a block is made small enough for a test: what is replaced, and by what."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.S)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder in runs/eyes, a run in runs/mine, and the demonstrations that ship with the project."""
    from genrl.data import Images
    from genrl.encoders import ImageEncoder, Preprocessing
    from genrl.models import RandomNetwork
    from genrl.runs import ExploreConfig, explore

    folder = tmp_path_factory.mktemp("docs")
    (folder / "runs/eyes").mkdir(parents=True)
    (folder / "demos").symlink_to(ROOT / "demos")
    images = Images(torch.randint(256, (50, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))
    ImageEncoder.of(RandomNetwork((3, 32, 32)), Preprocessing((3, 32, 32)), images).save(folder / "runs/eyes/encoder.safetensors")
    given = {"reward": "rnd", "learner_kwargs": {"n_steps": 64, "batch_size": 64}}
    explore(ExploreConfig(env="Pendulum-v1", learner="ppo", steps=64, out=folder / "runs/mine", pictures=False, **given), quiet=True)
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_the_python_blocks_of_a_page_run(page: Path, eyes: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    code = "\n".join(blocks(page, "python"))
    if "load_images" in code:
        monkeypatch.setenv("GENRL_DATA", str(request.getfixturevalue("shared") / "data/images"))
    monkeypatch.chdir(eyes)
    for long, short in SMALLER:
        code = re.sub(long, short, code)
    exec(compile(code, name(page), "exec"), {"__name__": "page"})


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in blocks(page, ""):
            for line in block.splitlines():
                typed = line.split(" #")[0].strip()
                if typed.startswith("genrl ") and "…" not in typed:
                    yield name(page), typed


@pytest.mark.parametrize(("page", "typed"), sorted(set(commands())))
def test_a_printed_command_has_flags_that_exist(page: str, typed: str) -> None:
    from genrl.cli import main

    words = shlex.split(typed)[1:]
    flags = {word for word in words[1:] if word.startswith("--")}
    chosen = [
        (word, value) for word, value in pairwise(words) if word in ("--learner", "--reward", "--model", "--world") and ":" not in value
    ]
    parts = [word for pair in chosen for word in pair]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([words[0], *parts, "--help"])
    known = set(re.findall(r"--[\w.-]+", printed.getvalue()))
    own = {
        flag for flag in flags if flag.startswith(("--env.", "--reward.")) and flag not in known
    }  # of a task, or of a class of one's own
    assert flags - own <= known, f"{page}: {typed}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


NOTEBOOKS = sorted((ROOT / "docs/start").glob("*.ipynb"))


def notebooks() -> ModuleType:
    """docs/notebooks.py, which runs them."""
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs/notebooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kept(notebook: dict[str, Any]) -> list[list[str]]:
    """Kinds of the outputs of each code cell."""
    return [[output["output_type"] for output in cell["outputs"]] for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_and_keeps_what_it_shows(file: Path) -> None:
    """Half a minute of one core for both."""
    notebook = json.loads(file.read_text())
    made = notebooks().executed(notebook)
    assert kept(made) == kept(notebook)
    assert sum(map(len, kept(notebook))) >= 2


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_names_no_place_of_a_machine(file: Path) -> None:
    text = re.sub(r'"image/png": "[^"]*"', "", file.read_text())
    assert not re.search(r"/(home|root|tmp|usr|work|Users|var)/|0x[0-9a-f]{6}|Traceback|Warning", text)


def test_a_cell_keeps_what_it_prints_its_last_value_and_its_figures() -> None:
    code = [["print(1)\n", "1 + 1"], ["import matplotlib.pyplot as plt\n", "plt.figure();"], ["x = 3"], ["x"]]
    cells = [{"cell_type": "code", "source": source, "outputs": []} for source in code]
    made = notebooks().executed({"cells": [*cells, {"cell_type": "markdown", "source": ["# A\n", "b"]}]})
    assert kept(made) == [["stream", "execute_result"], ["display_data"], [], ["execute_result"]]
    page = notebooks().markdown(made)
    assert "```text\n1\n```\n\n```text\n2\n```" in page and page.endswith("```text\n3\n```\n\n# A\nb\n")
    assert "![What the cell above draws](data:image/png;base64," in page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pages with mathematics and one task of the reference, built as the site is."""
    from sphinx.application import Sphinx

    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for folder in ("_ext", "_static", "concepts"):
        shutil.copytree(ROOT / "docs" / folder, source / folder)
    for file in ("conf.py", "notebooks.py"):
        shutil.copy(ROOT / "docs" / file, source)
    (source / "start").mkdir()
    shutil.copy(NOTEBOOKS[0], source / "start")
    (source / "index.md").write_text("# genrl\n\n```{toctree}\n:glob:\nconcepts/*\nstart/*\ntask\n```\n")
    (source / "task.md").write_text("# A task\n\n```{eval-rst}\n.. autoclass:: genrl_envs.SparseMountainCarEnv\n```\n")
    Sphinx(str(source), str(source), str(out), str(out / ".doctrees"), "html", status=None, warning=None).build()
    return out


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*is deprecated")
def test_mathematics_is_in_the_page_itself(site: Path) -> None:
    page = (site / "concepts/reward.html").read_text()
    assert page.count("<math") >= 8 and '<div class="math">' in page
    assert "<msub><mi>w</mi><mtext>ext</mtext></msub>" in page
    assert not re.search(r"\\[a-z]+|\$", re.sub(r"<annotation.*?</annotation>", "", page.split("<article")[1].split("</article>")[0]))


def test_a_notebook_is_a_page(site: Path) -> None:
    page = (site / "start" / f"{NOTEBOOKS[0].stem}.html").read_text()
    assert "class</span>" in page and "the top in" in page and '<img alt="What the cell above draws"' in page


def test_tables_and_code_of_a_docstring_are_tables_and_code(site: Path) -> None:
    page = (site / "task.html").read_text().split("<article")[1].split("</article>")[0]
    cells = re.findall(r"<td>(?:<p>)?(.*?)(?:</p>)?</td>", page, flags=re.S)
    assert len(cells) == 12 and (cells[0], cells[-2]) == ("observation", "source")
    assert ">Box(2,)<" in cells[1] and "<code" in cells[1] and "| ---" not in page and "— |" not in page


def test_a_page_asks_nothing_of_a_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]*\bsrc="([^"]*)"|<link[^>]*\bhref="([^"]*)"', page.read_text())
        assert loaded
        assert not [one or other for one, other in loaded if (one or other).startswith(("http", "//"))], page.name
