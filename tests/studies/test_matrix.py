"""A study's TOML file: which cells it has, and what is refused before anything runs."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from genrl.encoders import load_encoder
from genrl.errors import RunError
from genrl.runs import DreamConfig, ExploreConfig
from genrl.studies import Study
from genrl.studies.directory import open_directory, open_study
from genrl.studies.matrix import _digest, identity
from tests.runs.test_vision import saved

MATRIX = """
[study]
seeds = 2

[run]
steps = 500
learner = "ppo"
learner_kwargs = { n_steps = 64, gamma = 0.9 }

[tasks.swing]
env = "Pendulum-v1"

[tasks.car]
env = "genrl/SparseMountainCar-v0"
steps = 700
threshold = 0.9
reference = [0, 1]

[methods.none]
reward = "none"

[methods.rnd]
reward = "rnd"
learner_kwargs = { gamma = 0.95 }
"""


PIXELS = """
[study]
seeds = 2

[run]
learner = "ppo"
reward = "none"

[tasks.p]
env = "genrl/PixelPendulum-v0"

[methods.state]
env_kwargs = { observe = "state" }

[methods.eyes]
encoder = "EYES"
"""


def parse(text: str) -> Study:
    return Study.parse(text, "mine", Path("runs/mine"), "mine.toml")


def refusal(text: str, check: bool = False) -> str:
    with pytest.raises(RunError) as refused:
        study = parse(text)
        if check:
            study.check()
    assert "\n" not in str(refused.value)
    return str(refused.value)


class TestTheMatrix:
    def test_is_tasks_times_methods_times_seeds_seed_by_seed(self):
        study = parse(MATRIX)
        assert [(cell.seed, cell.task, cell.method) for cell in study.cells] == [
            (seed, task, method) for seed in (0, 1) for task in ("swing", "car") for method in ("none", "rnd")
        ]

    def test_a_method_changes_the_task_which_changes_the_run(self):
        cells = {(cell.task, cell.method): cell.config for cell in parse(MATRIX).cells}
        assert cells["swing", "rnd"].steps == 500
        assert cells["car", "rnd"].steps == 700
        assert cells["car", "none"].learner_kwargs == {"n_steps": 64, "gamma": 0.9}
        assert cells["car", "rnd"].learner_kwargs == {"n_steps": 64, "gamma": 0.95}

    def test_hyperparameters_of_one_learner_are_not_given_to_another(self):
        study = parse(MATRIX + '[methods.sac]\nlearner = "sac"\nreward = "none"\n')
        assert {cell.config.learner: cell.config.learner_kwargs for cell in study.cells if cell.method != "rnd"} == {
            "ppo": {"n_steps": 64, "gamma": 0.9},
            "sac": {},
        }

    def test_seeds_are_a_number_or_a_list(self):
        assert parse(MATRIX).settings.seeds == (0, 1)
        assert parse(MATRIX.replace("seeds = 2", "seeds = [7, 3]")).settings.seeds == (7, 3)

    def test_what_it_knows_of_a_task(self):
        task = parse(MATRIX).tasks["car"]
        assert (task.threshold, task.reference) == (0.9, (0.0, 1.0))

    def test_the_baseline_is_the_first_method_unless_it_is_named(self):
        assert parse(MATRIX).baseline == "none"
        assert parse(MATRIX.replace("seeds = 2", 'seeds = 2\nbaseline = "rnd"')).baseline == "rnd"

    def test_the_studies_that_ship_are_studies(self):
        files = sorted((Path(__file__).parents[2] / "demos" / "studies").glob("*.toml"))
        assert files
        for file in files:
            study = Study.load(file)
            needed = [getattr(cell.config, "demos", None) or cell.config.encoder for cell in study.cells]
            if all(path is None or path.exists() for path in needed):  # they are not ours, or must be fitted first
                study.check()

    def test_a_method_without_its_encoder_is_refused_before_the_others_are_trained(self, tmp_path):
        pixels = PIXELS.replace("EYES", f"{tmp_path}/eyes-{{seed}}")
        for seed, side in ((0, 32), (1, 16)):
            words = rf"task 'p' with method 'eyes': --encoder: there is no encoder .*eyes-{seed}; fit one with: genrl generate"
            assert re.search(words, refusal(pixels, check=True))
            saved(tmp_path / f"eyes-{seed}", seed, side)
        assert re.search("method 'eyes': .*fitted to images of 3 × 16 × 16.*, but the task gives 32 × 32 × 3", refusal(pixels, check=True))

    def test_a_result_of_another_encoder_than_the_one_that_is_there_now_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        study = parse(PIXELS.replace("EYES", f"{tmp_path}/eyes"))
        (cell,) = (cell for cell in study.cells if cell.method == "eyes" and cell.seed == 0)
        saved(tmp_path / "eyes", seed=0)
        cell.path.mkdir(parents=True)
        (cell.path / "config.json").write_text(json.dumps({"about": {"encoder": load_encoder(tmp_path / "eyes").hash}}))
        (cell.path / "result.json").write_text("{}")
        study.check()
        shutil.rmtree(tmp_path / "eyes")
        saved(tmp_path / "eyes", seed=1)
        with pytest.raises(RunError, match=r"method 'eyes': .* has the result of another encoder than the one that .*eyes has now; delete"):
            study.check()

    def test_a_run_that_was_begun_with_another_encoder_is_refused_whatever_its_seed(self, tmp_path, monkeypatch):
        """It would go on with its own copy of the former encoder, and be averaged with runs of the one that is there now."""
        monkeypatch.chdir(tmp_path)
        study = parse(PIXELS.replace("EYES", f"{tmp_path}/eyes"))
        cell = next(cell for cell in study.cells if cell.method == "eyes" and cell.seed == 1)
        saved(tmp_path / "eyes", seed=0)
        cell.path.mkdir(parents=True)
        (cell.path / "config.json").write_text(json.dumps({"about": {"encoder": load_encoder(tmp_path / "eyes").hash}}))
        study.check()
        shutil.rmtree(tmp_path / "eyes")
        saved(tmp_path / "eyes", seed=1)
        with pytest.raises(RunError, match=r"method 'eyes': .*seed1.* was begun with another encoder than the one that .*eyes has now; "):
            study.check()

    def test_other_recorded_steps_of_a_dream_are_other_runs(self, tmp_path):
        found = set()
        for content in (b"first", b"second"):
            (path := tmp_path / content.decode()).write_bytes(content)
            found.add(identity(DreamConfig(demos=path)))
            path.rename(tmp_path / "steps.npz")
            _digest.cache_clear()
            found.add(identity(DreamConfig(demos=tmp_path / "steps.npz")))
        assert len(found) == 2  # whatever they are called

    def test_the_cells_of_a_directory_are_found_without_the_demonstrations(self, tmp_path, monkeypatch):
        """A report from another folder, or after they were moved, showed no run at all."""
        (tmp_path / "steps.npz").write_bytes(b"steps")
        monkeypatch.chdir(tmp_path)
        parts = "[study]", 'command = "dream"', "[run]", 'demos = "steps.npz"', "[tasks.swing]", 'env = "Pendulum-v1"'
        text = "\n".join([*parts, "[methods.dream]", 'learner = "ppo"'])
        begun = Study.parse(text, "mine", tmp_path / "study")
        open_directory(begun)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        _digest.cache_clear()
        found = open_study("../study")
        assert [cell.path.name for cell in found.cells] == [cell.path.name for cell in begun.cells]
        open_directory(found)  # and keeps what it knows
        assert open_study("../study").digests == begun.digests

    def test_a_cell_that_has_its_result_needs_no_encoder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        study = parse(PIXELS.replace("EYES", f"{tmp_path}/eyes-{{seed}}"))
        for cell in study.cells:
            with pytest.raises(RunError, match="there is no encoder"):
                study.check()
            cell.path.mkdir(parents=True)
            (cell.path / "result.json").write_text("{}")
        study.check()

    def test_runs_that_have_finished_need_no_demonstrations(self, tmp_path, monkeypatch):
        """`genrl study DIRECTORY` of a finished study asked for them, and so did one with other runs to go."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "steps.npz").write_bytes(b"steps")
        parts = "[study]", "seeds = 2", 'command = "dream"', "[tasks.swing]", 'env = "Pendulum-v1"', 'demos = "steps.npz"'
        study = parse("\n".join([*parts, "[methods.dream]", 'learner = "ppo"']))
        (tmp_path / "steps.npz").unlink()
        _digest.cache_clear()
        for cell in study.cells:
            with pytest.raises(RunError, match="method 'dream': there are no demonstrations"):
                study.check()
            cell.path.mkdir(parents=True)
            (cell.path / "result.json").write_text('{"status": "finished", "evaluation_error": null}')
        study.check()


class TestTheIdentityOfACell:
    def test_is_its_configuration(self):
        config = parse(MATRIX).cells[0].config
        changes: list[dict[str, object]] = [
            {"steps": 501}, {"seed": 1}, {"weight": 1.0}, {"learner_kwargs": {"n_steps": 64, "gamma": 0.91}}, {"env_kwargs": {"g": 9.0}}
        ]  # fmt: skip
        others = [dataclasses.replace(config, **change) for change in changes]
        assert len({identity(item) for item in (config, *others)}) == 1 + len(others)

    def test_is_not_where_it_is_kept_nor_how_often_it_is_saved(self):
        config = parse(MATRIX).cells[0].config
        other = dataclasses.replace(config, out=Path("elsewhere"), pictures=True, checkpoint_every=5.0, tensorboard=True)
        assert identity(config) == identity(other)

    def test_does_not_depend_on_whether_a_default_is_written_out(self):
        config = parse(MATRIX).cells[0].config
        assert identity(config) == identity(dataclasses.replace(config, weight=ExploreConfig.weight))

    def test_survives_a_method_that_is_renamed_or_reordered(self):
        before = {cell.path for cell in parse(MATRIX).cells}
        assert {cell.path for cell in parse(MATRIX.replace("[methods.none]", "[methods.bare]")).cells} == before

    def test_keeps_the_directory_that_cloning_alone_has_always_had(self):
        text = '[study]\ncommand = "imitate"\nseeds = 1\n[tasks.swing]\nenv = "Pendulum-v1"\n[methods.cloning]\nsteps = 0\n'
        assert parse(text).cells[0].path.name.startswith("Pendulum-v1-ppo-gail-seed0-")

    def test_is_a_directory_that_any_name_can_have(self):
        study = parse(MATRIX.replace("[tasks.swing]", '[tasks."<script>/../x"]'))
        assert all(cell.path.parent == Path("runs/mine/cells") for cell in study.cells)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[study]", "[study", "mine.toml is not TOML"),
        ("seeds = 2", "sedes = 2", "[study] has an unknown key 'sedes'; did you mean seeds?"),
        ("steps = 500", "stepps = 500", "[run] has an unknown key 'stepps'; did you mean steps?"),
        ("threshold = 0.9", "treshold = 0.9", "[tasks.car] has an unknown key 'treshold'; did you mean threshold?"),
        ('none]\nreward = "none"', 'none]\nreword = "none"', "[methods.none] has an unknown key 'reword'; did you mean reward?"),
        ("[run]", "[runs]", "there is an unknown key 'runs'; did you mean run?"),
        ("seeds = 2", "seeds = 0", "the matrix is empty, there are no seeds; add seeds = 5 in [study]"),
        ("seeds = 2", "seeds = [1, 1]", "[study] seeds names a number twice"),
        ("seeds = 2", 'seeds = "two"', "[study] seeds is 'two', but must be a list of whole numbers of at least 0 or their number"),
        ("seeds = 2", "seeds = 2\ntries = 0", "[study] tries is 0, but must be a whole number of at least 1"),
        ("seeds = 2", 'seeds = 2\nscore = "reward"', "[study] score is 'reward', but must be evaluation_return or training_return"),
        ("seeds = 2", 'seeds = 2\nbaseline = "sac"', "[study] baseline is 'sac', but the methods are none, rnd"),
        ("steps = 500", 'steps = "many"', "--steps is 'many', but must be a whole number"),
        ("steps = 500", "steps = 0", "--steps is 0, but must be at least 1"),
        ("reference = [0, 1]", "reference = [1, 1]", "[tasks.car] reference is [1, 1], but must be two different returns"),
        ("reference = [0, 1]", "reference = [100, -20]", "reference is [100, -20], but must be two different returns, the lower first"),
        ("threshold = 0.9", "threshold = true", "[tasks.car] threshold is True, but must be a return"),
        ('reward = "rnd"\nlearner_kwargs = { gamma = 0.95 }', 'reward = "none"', "are the same run; change or remove one of them"),
        ("[tasks.swing]", "[tasks]\nbad = 1\n[tasks.swing]", "tasks must be tables, such as [tasks.one]"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_matrix_is_refused(old: str, new: str, sentence: str):
    assert old in MATRIX
    message = refusal(MATRIX.replace(old, new))
    assert message.startswith("mine.toml")
    assert sentence in message


@pytest.mark.parametrize("part", ["tasks", "methods"])
def test_an_empty_matrix_is_refused(part: str):
    blocks = [block for block in MATRIX.split("\n\n") if not block.startswith(f"[{part}.")]
    assert f"the matrix is empty, there are no {part}; add [{part}." in refusal("\n\n".join(blocks))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"Pendulum-v1"', '"Pendulun-v1"', "task 'swing' with method 'none': there is no task 'Pendulun-v1'; did you mean Pendulum-v1"),
        ('"ppo"', '"pppo"', "there is no learner 'pppo'; did you mean ppo"),
        ('"rnd"', '"rndd"', "task 'swing' with method 'rnd': there is no reward 'rndd'; did you mean rnd"),
        ("gamma = 0.9 ", "gama = 0.9 ", "PPO has no learner_kwargs.gama; did you mean gamma"),
        ("gamma = 0.9 ", 'gamma = "high" ', "learner_kwargs.gamma is 'high', but must be a number"),
        (
            'reward = "rnd"',
            'reward = "gail"',
            "task 'swing' with method 'rnd': reward 'gail' learns from demonstrations; write command = \"imitate\" under [study]",
        ),
        ("seeds = 2", "seeds = 2\nmilestones = [700, 701]", "[study] milestones has 701, but no run makes more than 700 steps"),
        (
            "steps = 500",
            "steps = 500\neval_episodes = 0",
            "task 'swing' with method 'none': eval_episodes is 0, so the run has no evaluation_return",
        ),
        (
            'rnd"\nlearner_kwargs = { gamma = 0.95 }',
            'vime"\n[methods.same]\nreward = "vime"\nreward_kwargs = { preset = "calibrated" }',
            "task 'swing' with method 'same': it is the same run as (swing, rnd, seed 0), whose defaults are written out; change or remove",
        ),
        ('reward = "rnd"', 'reward = "evil:Reward"', "evil:Reward would import evil; if you trust it, add --imports evil"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_runs(old: str, new: str, sentence: str):
    assert old in MATRIX
    assert sentence in refusal(MATRIX.replace(old, new), check=True)


def test_keywords_of_a_task_that_no_run_has_are_refused():
    text = MATRIX.replace("steps = 500", "steps = 500\nenv_kwargs = { g = 1.0 }")
    parse(text)._check_given()  # the car is the default task, to which they belong
    message = refusal(text.replace('"genrl/SparseMountainCar-v0"', '"CartPole-v1"'), check=True)
    assert message.startswith(
        "[run] env_kwargs has g, which no run takes, since env is genrl/SparseMountainCar-v0 there and another one in"
    )


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match=r"none\.toml can't be read \(No such file or directory\); give the TOML file of a study") as refused:
        Study.load(tmp_path / "none.toml")
    example = str(refused.value).rpartition("such as ")[2]
    assert (Path(__file__).parents[2] / example).is_file()
