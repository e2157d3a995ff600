"""The HTML page of a study: what it says, that it says only that, and how a browser shows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from genrl.cli import main
from genrl.errors import RunError
from genrl.files import write_json
from genrl.reading import read_json
from genrl.runs.directory import RunDirectory
from genrl.studies import report
from genrl.studies.matrix import Cell
from genrl.studies.report import write_report
from genrl.studies.results import read_study
from genrl.studies.summary import summarize
from tests.studies.synthetic import make_study

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "img", "source", "br"}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"


class Page(HTMLParser):
    """The elements of a page, their text, and what was opened and never closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def attribute(self, name: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(name))]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_printed_tables_have_a_heading_each_and_the_stream_to_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(tmp_path / "study")
    assert main(["report", str(tmp_path / "study"), "--markdown"]) == 0
    printed = capsys.readouterr()
    tasks = summarize(read_study(tmp_path / "study"))["tasks"]
    assert [line for line in printed.out.splitlines() if not line.startswith("|") and line] == [f"## {task}" for task in tasks]
    assert printed.err == f"open it: {tmp_path / 'study' / 'report.html'}\n"


def make_page(folder: Path, **options: Any) -> Page:
    """The report of a made-up study in ``folder``/study."""
    make_study(folder / "study", **{"methods": ("none", "vime"), "tasks": ("car",), "seeds": 5} | options)
    return Page(write_report(folder / "study"))


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 2 tasks × 3 methods × 10 seeds."""
    folder = tmp_path_factory.mktemp("report") / "sixty"
    make_study(folder, title="Sixty runs", milestones=(10_000,), reference=(0, 1))
    return write_report(folder)


class TestPage:
    def test_is_well_formed_and_no_id_is_twice(self, sixty: Path) -> None:
        page = Page(sixty)
        assert (page.open, page.wrong) == ([], [])
        assert not [name for name, count in Counter(page.attribute("id")).items() if count > 1]

    def test_every_figure_says_what_it_is(self, sixty: Path) -> None:
        figures = Page(sixty).all("svg")
        assert len(figures) == 5  # curves and profile of two tasks, and a profile of both
        assert all(figure["role"] == "img" and "none, vime, rnd" in (figure["aria-label"] or "") for figure in figures)
        assert all(image["alt"] for image in Page(sixty).all("img"))

    def test_refers_to_nothing_outside_but_the_runs(self, sixty: Path) -> None:
        page = Page(sixty)
        assert all(source.startswith("data:image/") for source in page.attribute("src") + page.attribute("srcset"))
        links = [link for link in page.attribute("href") if not link.startswith("#")]
        assert len(links) == 60 and all((sixty.parent / unquote(link)).is_dir() for link in links)
        assert not re.findall(r"https?:|url\(|@import|//www", page.source.replace("http-equiv", ""))
        assert not page.all("script") and not page.all("link") and not re.search(r"\son\w+=", page.source)

    def test_its_anchors_exist(self, sixty: Path) -> None:
        page = Page(sixty)
        anchors = {link[1:] for link in page.attribute("href") if link.startswith("#")}
        assert {"task-1", "task-2", "across", "methods", "runs", "configurations"} == anchors
        assert anchors <= set(page.attribute("id"))

    def test_is_small(self, sixty: Path) -> None:
        assert sixty.stat().st_size < 0.6 * 5_000_000 / 5  # 100 runs may take 5 MB, mostly films

    def test_says_the_numbers_and_the_configurations(self, sixty: Path) -> None:
        text = Page(sixty).text
        for words in (
            "Sixty runs",
            "2 tasks × 3 methods × 10 seeds = 60 runs",
            "60 finished",
            "10 of 10",
            "≥ 0.9",
            "at 10k",
            "against none",
        ):
            assert words in text
        for words in ("against none", "normalised score, IQM", "median of tasks", "weight = 0.002", "n_envs = 1", "2.13.0+cpu", "cpus 2"):
            assert words in text

    def test_can_be_written_elsewhere_and_still_finds_the_runs(self, tmp_path: Path) -> None:
        make_study(tmp_path / "a study", tasks=("car",), seeds=1)
        page = Page(write_report(tmp_path / "a study", tmp_path / "pages" / "here.html"))
        links = [link for link in page.attribute("href") if not link.startswith("#")]
        assert links and all(link.startswith("../a%20study/cells/") for link in links)
        assert all((tmp_path / "pages" / unquote(link)).is_dir() for link in links)

    def test_a_directory_without_a_study_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="holds no study"):
            write_report(tmp_path)

    def test_the_file_of_a_study_in_place_of_its_directory_says_where_that_is(self, tmp_path: Path) -> None:
        (tmp_path / "mine.toml").write_text("[study]")
        with pytest.raises(RunError, match=r"mine.toml is a file; give the directory of the study, by default runs/mine"):
            write_report(tmp_path / "mine.toml")

    def test_a_page_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        make_study(tmp_path / "study", tasks=("car",), seeds=1)
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match="can't be written"):
            write_report(tmp_path / "study", tmp_path / "file" / "report.html")


class TestNames:
    def test_of_tasks_methods_and_title_stay_text(self, tmp_path: Path) -> None:
        names = (HOSTILE, '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }} $x^2$", "</title></svg>&amp;")
        page = make_page(tmp_path, tasks=names, methods=names, seeds=2, title=HOSTILE)
        assert (page.open, page.wrong) == ([], [])
        assert not page.all("script") and all(source.startswith("data:") for source in page.attribute("src"))
        assert all(name in page.text for name in names)
        assert any(HOSTILE in (figure["aria-label"] or "") for figure in page.all("svg"))


class TestUnfinished:
    def test_counts_what_is_missing_and_says_how_to_go_on(self, tmp_path: Path) -> None:
        states = {0: "finished", 1: "running", 2: "stopped", 3: "waiting", 4: "finished"}
        page = make_page(tmp_path, status=lambda cell: states[cell.seed])
        for words in ("4 finished", "2 running", "2 stopped", "2 waiting", "6 of 10 runs are not finished yet", "2 of 5"):
            assert words in page.text
        assert f"Go on with genrl study {tmp_path / 'study'}" in page.text
        assert "Median of the runs, and their range." in page.text

    def test_a_study_that_has_just_begun_has_a_page(self, tmp_path: Path) -> None:
        page = make_page(tmp_path, status=lambda cell: "waiting")
        assert "No run of this task has finished yet" in page.text and "10 waiting" in page.text
        assert not page.all("svg") and "not started" in page.text

    def test_finished_runs_in_which_no_episode_ended_are_not_said_to_be_unfinished(self, tmp_path: Path) -> None:
        study = make_study(tmp_path / "study", ("car",), seeds=2)
        for cell in study.cells:
            run = RunDirectory(cell.path)
            run.episodes.write_text(",".join(run.EPISODE_COLUMNS) + "\n")
            write_json(run.result, read_json(run.result) | {"episodes": 0, "training_return": None, "first_reward_step": None})
        page = Page(write_report(study.directory))
        assert "6 finished" in page.text and "has finished yet" not in page.text
        assert "No episode ended while the finished runs trained, so there are no curves." in page.text

    def test_a_method_without_a_run_is_in_the_table_only(self, tmp_path: Path) -> None:
        page = make_page(tmp_path, status=lambda cell: "waiting" if cell.method == "vime" else "finished")
        assert "0 of 5" in page.text
        assert all("vime" not in (figure["aria-label"] or "") for figure in page.all("svg"))


class TestFailures:
    def test_are_shown_with_their_error_and_tries(self, tmp_path: Path) -> None:
        page = make_page(tmp_path, status=lambda cell: "failed" if cell.seed == 1 else "finished")
        for words in ("2 failed", "4 of 5", "1 failed", "car, vime, seed 1", "failed 3 times", "ValueError: it <b>broke</b>", "--retry"):
            assert words in page.text
        assert not page.all("b")

    def test_a_return_that_is_not_a_number_is_a_failure_and_in_no_average(self, tmp_path: Path) -> None:
        def status(cell: Cell) -> str:
            return "nan" if cell.method == "vime" and cell.seed == 0 else "finished"

        page = make_page(tmp_path, status=status)
        assert "the return of its episode 30 is nan" in page.text and "4 of 5" in page.text
        assert not re.search(r"\bnan\b", page.source.replace("the return of its episode 30 is nan", ""), re.IGNORECASE)


class TestOneOfEverything:
    def test_one_method(self, tmp_path: Path) -> None:
        page = make_page(tmp_path, methods=("vime",))
        assert "against" not in page.text and len(page.all("svg")) == 2

    def test_one_seed(self, tmp_path: Path) -> None:
        page = make_page(tmp_path, seeds=1)
        assert "1 of 1" in page.text and 'class="band' not in page.source
        assert not re.search(r"\[\d|\(\d", page.text.split("What each changes")[0])

    def test_one_episode_that_ends_with_its_run_is_a_dot(self, tmp_path: Path) -> None:
        page = make_page(tmp_path, tasks=("car",), episodes=1)
        dots = re.findall(r'<path d="M ([\d.]+ [\d.]+) L ([\d.]+ [\d.]+)" style="[^"]*stroke-linecap: round', page.source)
        assert len(dots) == 2 and all(start == end for start, end in dots)

    def test_no_coverage(self, tmp_path: Path) -> None:
        page = make_page(tmp_path, coverage=False)
        assert "visited bins" not in page.text and not page.all("img")

    def test_no_threshold(self, tmp_path: Path) -> None:
        numbers = make_page(tmp_path, threshold=None).text.split("What each changes")[0]
        assert "training return" in numbers and not re.search("reaches|≥|threshold|solved", numbers)

    def test_one_dimension_of_coverage(self, tmp_path: Path) -> None:
        study = make_study(tmp_path / "study", tasks=("car",), seeds=2)
        for cell in study.cells:
            edges = np.arange(-2, 3) * 0.5
            np.savez_compressed(cell.path / "coverage.npz", counts=np.array([0, 3, 9, 1]), names=np.array(["x"]), edges_x=edges)
            result = json.loads((cell.path / "result.json").read_text())
            result["coverage"] = {"names": ["x"], "bins": 3, "bin_widths": [0.5]}
            (cell.path / "result.json").write_text(json.dumps(result))
        assert "→ x, -1 … 1, in bins of 0.5. Brighter" in Page(write_report(study.directory)).text


class TestManyMethods:
    def test_have_a_small_curve_each(self, tmp_path: Path) -> None:
        methods = [f"m{i}" for i in range(12)]
        page = make_page(tmp_path, methods=methods, seeds=2)
        assert [figure["aria-label"] for figure in page.all("svg")[2:]] == [f"Learning curve of {method}" for method in methods]

    def test_are_told_apart_by_color_and_dash(self, tmp_path: Path) -> None:
        page = make_page(tmp_path, methods=[f"m{i}" for i in range(12)], seeds=2)
        keys = [key["style"] for key in page.all("i") if key.get("class") == "key"]
        assert len(set(keys)) == 12


class TestFilms:
    def film(self, cell: Cell, noise: int) -> int:
        pixels = np.random.default_rng(0).integers(0, 256, (noise, noise), dtype=np.uint8)
        frames = [Image.fromarray(pixels), Image.fromarray(pixels.T)]
        frames[0].save(cell.path / "watch.gif", save_all=True, append_images=frames[1:])
        return (cell.path / "watch.gif").stat().st_size

    def test_a_small_one_is_embedded_and_a_large_one_linked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        study = make_study(tmp_path / "study", tasks=("car",), methods=("none", "vime"), seeds=2, coverage=False)
        small, large = self.film(study.cells[0], 40), self.film(study.cells[1], 200)
        monkeypatch.setattr(report, "FILM_BYTES", (small + large) // 2)
        page = Page(write_report(study.directory))
        kinds = [(image["src"] or "").partition(";")[0] for image in page.all("img")]
        assert kinds == ["data:image/gif", "data:image/jpeg"]
        links = [unquote(link) for link in page.attribute("href") if link.endswith("watch.gif")]
        assert (study.directory / links[-1]).samefile(study.cells[1].path / "watch.gif")

    def test_all_together_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        study = make_study(tmp_path / "study", tasks=("car",), methods=("none", "vime", "rnd"), seeds=1, coverage=False)
        sizes = [self.film(cell, 40) for cell in study.cells]
        monkeypatch.setattr(report, "FILMS_BYTES", sum(sizes[:2]))
        kinds = Counter((image["src"] or "").partition(";")[0] for image in Page(write_report(study.directory)).all("img"))
        assert kinds == {"data:image/gif": 2, "data:image/jpeg": 1}


@pytest.mark.skipif(BROWSER is None, reason="there is no chromium to open the page with")
class TestInABrowser:
    def browse(self, folder: Path, page: Path, *flags: str) -> str:
        own = ("--disable-sync", f"--user-data-dir={folder / 'profile'}", "--proxy-server=http://127.0.0.1:9")  # where nobody listens
        command = [str(BROWSER), *FLAGS.split(), *own, *flags, page.resolve().as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout

    def test_names_stay_text_and_nothing_is_requested(self, tmp_path: Path) -> None:
        make_study(tmp_path / "study", tasks=(HOSTILE,), methods=("none", HOSTILE), seeds=2, title=HOSTILE)
        page = write_report(tmp_path / "study")
        document = self.browse(tmp_path, page, "--dump-dom", f"--log-net-log={tmp_path / 'net.json'}")
        assert "<title>&lt;script&gt;alert(1)&lt;/script&gt;</title>" in document and "2 of 2" in document
        assert "<table" in document and "<svg" in document and "<script" not in document
        assert not requests_of_pages(tmp_path / "net.json")

    def test_it_draws_in_light_and_in_dark(self, sixty: Path, tmp_path: Path) -> None:
        pictures = []
        for scheme in (1, 0):
            path = tmp_path / f"{scheme}.png"
            self.browse(
                tmp_path, sixty, f"--screenshot={path}", "--window-size=1200,1600", f"--blink-settings=preferredColorScheme={scheme}"
            )
            pictures.append(np.asarray(Image.open(path).convert("L"), dtype=float))
        light, dark = pictures
        assert light.mean() > 180 and dark.mean() < 80
        assert min(light.std(), dark.std()) > 10  # neither is blank

    @pytest.mark.parametrize(("width", "columns"), [(1500, 2), (520, 1)])
    def test_figures_stand_side_by_side_where_there_is_room(self, sixty: Path, tmp_path: Path, width: int, columns: int) -> None:
        asked = "[...document.querySelectorAll('.figures figure')].slice(0, 2).map(one => Math.round(one.getBoundingClientRect().left))"
        measured = tmp_path / "measured.html"
        source = re.sub(r"<meta http-equiv[^>]*>", "", sixty.read_text())  # which forbids scripts
        measured.write_text(f"{source}<script>document.title = JSON.stringify({asked})</script>")
        document = self.browse(tmp_path, measured, "--dump-dom", f"--window-size={width},1000")
        lefts = json.loads(re.findall(r"<title>(.*?)</title>", document)[0])
        assert len(lefts) == 2 and len(set(lefts)) == columns


def requests_of_pages(log: Path) -> set[str]:
    """Addresses that were asked for by a page; what the browser wants for itself has no origin."""
    content = json.loads(log.read_text())
    start = content["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    parameters = [event.get("params", {}) for event in content["events"] if event["type"] == start]
    return {found["url"] for found in parameters if "url" in found and found.get("initiator") != "not an origin"}
