"""A search asks, runs and tells; stopped and resumed it asks for what it would have asked for; its end can be pasted."""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from genrl.cli import main
from genrl.cli._flags import parse_run
from genrl.cli.tune import _report
from genrl.errors import RunError
from genrl.runs import ExploreConfig, ImitateConfig
from genrl.studies import InProcess, Processes, read_study
from genrl.studies import tuning as tuning_module
from genrl.studies.cells import PRELOAD
from genrl.studies.tuning import Trial, Tuning, best, tune
from genrl.studies.wording import as_toml, flags_of
from tests.runs import tiny as tasks

assert tasks.Breaks  # registered by its module
TOML = """
[tune]
trials = 6
at_once = 2
[run]
env = "Pendulum-v1"
learner = "ppo"
reward = "none"
steps = 64
eval_episodes = 1
learner_kwargs = { n_steps = 64, batch_size = 32 }
[search]
normalize_obs = [true, false]
[search.learner_kwargs]
learning_rate = { low = 1e-5, high = 1e-2, log = true }
n_epochs = { low = 1, high = 4 }
net_arch = [[4], [4, 4]]
"""


def search(folder: Path, text: str = TOML) -> Tuning:
    return Tuning.parse(text, "swing", folder)


def numbers(trials: Any) -> Any:
    return [(dict(trial.values), trial.score) for trial in trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune") / "swing"
    assert tune(search(folder), InProcess()) is not None
    return folder


def test_every_trial_is_an_ordinary_run_within_the_space(whole: Path) -> None:
    trials = search(whole).read()
    results = read_study(whole)
    assert len(trials) == len(results.cells) == 6
    for trial, item in zip(trials, results.cells, strict=True):
        assert trial.score == item.result["evaluation_return"]
        own = item.cell.config.learner_kwargs
        values = {"normalize_obs": item.cell.config.normalize_obs} | {f"learner_kwargs.{name}": own[name] for name in own}
        assert {name: values[name] for name in trial.values} == trial.values
        assert 1e-5 <= own["learning_rate"] <= 1e-2 and own["n_epochs"] in range(1, 5) and own["net_arch"] in ([4], [4, 4])
    assert len({trial.values["learner_kwargs.learning_rate"] for trial in trials}) == 6
    assert best(trials)[0].score == max(trial.score for trial in trials if trial.score is not None)


def test_worker_processes_give_the_same_trials(whole: Path, tmp_path: Path) -> None:
    assert numbers(tune(search(tmp_path), Processes(2, preload=PRELOAD))) == numbers(search(whole).read())


@pytest.mark.parametrize("after", [1, 3])
def test_a_stopped_search_asks_for_what_it_would_have_asked_for(after: int, whole: Path, tmp_path: Path, monkeypatch: Any) -> None:
    run_study, rounds = tuning_module.run_study, []

    def stops(*given: Any, **more: Any) -> bool:
        rounds.append(1)
        return run_study(*given, **more) and len(rounds) < after  # the last round is run, and its end is not seen

    with monkeypatch.context() as patch:
        patch.setattr(tuning_module, "run_study", stops)
        assert tune(search(tmp_path), InProcess()) is None
    assert numbers(tune(search(tmp_path), InProcess())) == numbers(search(whole).read())


def test_more_trials_go_on_from_those_that_there_are(whole: Path, tmp_path: Path) -> None:
    tune(search(tmp_path, TOML.replace("trials = 6", "trials = 2")), InProcess())
    assert numbers(tune(search(tmp_path), InProcess())) == numbers(search(whole).read())
    with pytest.raises(RunError, match="holds a search of another file; choose another --out"):
        tune(search(tmp_path, TOML.replace("high = 4", "high = 5")), InProcess())


def test_later_trials_know_the_scores_of_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that rise with the number of epochs, given without a run: the search ends up there, and the control does not."""
    text = TOML.replace("trials = 6", "trials = 40").replace("high = 4", "high = 100").replace("[tune]", "[tune]\nsampler = 'SAMPLER'")

    def epochs(sampler: str) -> float:
        tuning = search(tmp_path / sampler, text.replace("SAMPLER", sampler))

        def scored(self: Tuning, trials: list[Any]) -> list[Any]:
            return [tuning_module.Trial(trial.values, float(trial.values["learner_kwargs.n_epochs"])) for trial in trials]

        with monkeypatch.context() as patch:
            patch.setattr(tuning_module, "run_study", lambda *given, **more: True)
            patch.setattr(Tuning, "scored", scored)
            trials = tune(tuning, InProcess())
        assert trials is not None
        return sum(trial.values["learner_kwargs.n_epochs"] for trial in trials[-20:]) / 20

    assert epochs("tpe") > 75 > 65 > epochs("random")


def test_one_and_true_are_two_trials(tmp_path: Path) -> None:
    trials = [Trial({"env_kwargs.g": value}, score) for value, score in ((1, 0.0), (True, 2.0), (True, 2.0))]
    assert [trial.values for trial in best(trials)] == [{"env_kwargs.g": True}, {"env_kwargs.g": 1}]
    assert [type(trial.values["env_kwargs.g"]) for trial in best(trials)] == [bool, int]
    assert len({cell.method for cell in search(tmp_path).study(trials).cells}) == 2


def test_equal_trials_are_run_once(tmp_path: Path) -> None:
    text = TOML.partition("[search]")[0].replace("trials = 6", "trials = 5") + "[search]\nnormalize_obs = [true, false]\n"
    trials = tune(search(tmp_path, text), InProcess())
    assert trials is not None and len(trials) == 5
    assert len(read_study(tmp_path).cells) == len({trial.values["normalize_obs"] for trial in trials}) == 2
    assert len(best(trials)) == 2


def test_a_trial_that_fails_has_no_score_and_stops_nothing(tmp_path: Path) -> None:
    text = TOML.partition("[search]")[0].replace("Pendulum-v1", "tests/Breaks-v0").replace("trials = 6", "trials = 2")
    trials = tune(search(tmp_path, text + "[search]\nenv_kwargs.at = [10, 100_000]\n"), InProcess())
    assert trials is not None
    scores = {trial.values["env_kwargs.at"]: trial.score for trial in trials}
    assert scores.get(10) is None and scores.get(100_000, 0.0) == 0.0


def test_the_command_counts_the_trials_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("genrl.studies.tuning.tune", lambda *_, **__: [Trial({"weight": 1.0}, 2.0), Trial({"weight": 2.0})])
    (tmp_path / "runs").mkdir()
    (tmp_path / "swing.toml").write_text(TOML.partition("[search]")[0] + "[search]\nweight = [1.0, 2.0]\n")
    assert main(["tune", str(tmp_path / "swing.toml"), "--out", str(tmp_path / "runs"), "--executor", "here"]) == 0
    assert capsys.readouterr().err.endswith("1 of 2 trials has no score, since a run failed; the report says why\n")


def test_a_trial_in_which_no_episode_ended_is_not_said_to_have_failed(tmp_path: Path, capsys: Any) -> None:
    """64 steps of episodes of 200: the report, to which it sent for the reason, has two finished runs."""
    text = TOML.partition("[search]")[0].replace("trials = 6", 'trials = 2\nscore = "training_return"')
    (tmp_path / "swing.toml").write_text(text + "[search]\nnormalize_obs = [true, false]\n")
    assert main(["tune", str(tmp_path / "swing.toml"), "--out", str(tmp_path / "runs"), "--executor", "here"]) == 2
    said = 'has a training_return, since no episode ended in a run; give [run] more steps, or write score = "evaluation_return" under'
    assert said in capsys.readouterr().err


def test_several_seeds_are_averaged(tmp_path: Path) -> None:
    text = TOML.replace("trials = 6", "trials = 1\nseeds = 2")
    (trial,) = tune(search(tmp_path, text), InProcess()) or []
    returns = [item.result["evaluation_return"] for item in read_study(tmp_path).cells]
    assert trial.score == pytest.approx(sum(returns) / 2)
    assert len(returns) == 2


REFUSED = {
    "[tune]\ntrial = 3": "[tune] has an unknown key 'trial'; it takes command, score, sampler, trials",
    "[tune]\ntrials = 0": "[tune] trials is 0, but must be a whole number from 1 to 10,000",
    "[tune]\nsampler = 'grid'": "[tune] sampler is 'grid', but must be tpe or random",
    "[search]": "[search] is empty; add what is searched",
    "[search]\nsteps = 3": "[search] steps is 3, but must be a list of choices, or { low = 1e-5",
    "[search]\nsteps = { low = 5, high = 5 }": "[search] steps goes from 5 to 5, but must rise",
    "[search]\nweight = { low = 0, high = 1, log = true }": "but must rise, from above 0",
    "[search]\nweight = { low = 0, high = inf }": "must be a list of choices",
    "[methods.a]": "it has methods where the tables [tune], [run] and [search] are needed",
    "[search": "it is not TOML",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_search_that_can_not_be_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(RunError) as refusal:
        Tuning.load(tmp_path / "x.toml")
    assert REFUSED[text] in str(refusal.value)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (
            "learner_kwargs.n_epoch = [1, 2]",
            "Pendulum-v1' with method 'trial 0000': PPO has no learner_kwargs.n_epoch; did you mean n_epochs?",
        ),
        ("learner_kwargs.n_epochs = [1, 'many']", "learner_kwargs.n_epochs is 'many', but must be a whole number"),
        ("learner_kwargs.n_epochs = { low = 0.5, high = 3 }", "learner_kwargs.n_epochs is 0.5"),
        ("n_envs = { low = 0, high = 8 }", "--n-envs is 0, but must be at least 1"),
        ("learner = ['ppo', 'poo']", "there is no learner 'poo'"),
        ("reward = ['none', 'evil_module:Reward']", "would import evil_module"),
    ],
)
def test_what_no_run_would_take_is_refused_before_the_first_one(space: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(RunError) as refusal:
        search(tmp_path, TOML.partition("[search]")[0] + f"[search]\n{space}\n").check()
    assert sentence in str(refusal.value)
    assert "evil_module" not in sys.modules


def test_a_search_whose_runs_would_have_no_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="eval_episodes is 0, so the run has no evaluation_return to be scored by"):
        search(tmp_path, TOML.replace("eval_episodes = 1", "eval_episodes = 0")).check()


def test_trials_have_what_they_share_and_the_best_one_is_told_as_it_was_run(tmp_path: Path) -> None:
    text = TOML.replace("[search]", "env_kwargs = { g = 1.0 }\n[search]").partition("[search]")[0] + "[search]\nlearner = ['ppo', 'sac']\n"
    tuning = search(tmp_path, text)
    tuning.check()
    for trial in (Trial({"learner": "ppo"}), Trial({"learner": "sac"})):
        config = tuning.study([trial]).cells[0].config
        assert config.env_kwargs == {"g": 1.0}
        told = tuning.values(trial)
        assert {name: told.get(name, {}) for name in ("learner", "env_kwargs", "learner_kwargs")} == {
            "learner": config.learner, "env_kwargs": config.env_kwargs, "learner_kwargs": config.learner_kwargs
        }  # fmt: skip
        assert told.keys() <= {*tuning.run, "learner"}


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds something that is no study"):
        tune(search(tmp_path), InProcess())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_last_lines_of_the_command_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("swing.toml").write_text(TOML.replace("trials = 6", "trials = 2"))
    assert main(["tune", "swing.toml", "--executor", "here"]) == 0
    printed = capsys.readouterr().out.splitlines()
    by_file, by_flags = (shlex.split(line.partition(": ")[2]) for line in printed[-2:])
    assert by_file[:2] == by_flags[:2] == ["genrl", "explore"]
    one, other = (parse_run(ExploreConfig, words[2:]) for words in (by_file, by_flags))
    assert one == other
    cells = {json.dumps(item.cell.config.to_dict()["learner_kwargs"]): item for item in read_study("runs/swing").cells}
    returns = [item.result["evaluation_return"] for item in cells.values()]
    searched = json.loads(Path("runs/swing/trials.json").read_text())["trials"][returns.index(max(returns))]
    assert one.learner_kwargs["learning_rate"] == searched["learner_kwargs.learning_rate"]
    assert main(["report", "runs/swing"]) == 0


def test_a_best_trial_of_files_elsewhere_is_told_so_that_it_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    text = TOML.replace("[tune]", '[tune]\ncommand = "imitate"').replace('reward = "none"', f'demos = "{tmp_path}/mine.npz"')
    tuning = Tuning.parse(text.partition("[search]")[0] + "[search]\nevery = [5, 20]\n", "swing", Path("runs/swing"))
    Path("runs/swing").mkdir(parents=True)
    _report(tuning, [Trial({"every": 5}, 1.0)], ("mine",))
    line = next(line for line in capsys.readouterr().out.splitlines() if "--config" in line)
    words = shlex.split(line.partition(": ")[2])
    assert words[words.index("--demos") + 1 :] == [f"{tmp_path}/mine.npz", "--imports", "mine"]
    assert parse_run(ImitateConfig, words[2:]).every == 5


def test_two_parts_with_a_setting_of_one_name_are_told_apart(tmp_path: Path, capsys: Any) -> None:
    values = {"learner_kwargs.learning_rate": 0.001, "reward_kwargs.learning_rate": 0.1, "weight": 2.0}
    _report(search(tmp_path), [Trial(values, 1.5)], ())
    assert capsys.readouterr().out.splitlines()[0].split(maxsplit=1)[1] == (
        "learner.learning_rate 0.001, reward.learning_rate 0.1, weight 2.0"
    )


def test_without_optuna_one_sentence_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    (tmp_path / "x.toml").write_text(TOML)
    assert main(["tune", str(tmp_path / "x.toml")]) == 2
    assert "genrl tune needs optuna, which is not installed; type: pip install 'genrl-toolkit[tune]'" in capsys.readouterr().err


def test_settings_come_back_from_their_words() -> None:
    values = {
        "env": "Pendulum-v1", "learner": "ppo", "reward": "rnd", "steps": 100, "weight": 1e-05, "normalize_obs": True,
        "env_kwargs": {"g": -9.81}, "reward_kwargs": {"hidden": [8, 8]},
        "learner_kwargs": {"use_sde": True, "normalize_advantage": False, "learning_rate": "lin_3e-4", "log_std_init": -2.5},
    }  # fmt: skip
    assert tomllib.loads(as_toml(values)) == values
    found = parse_run(ExploreConfig, list(map(str, flags_of(values))))
    assert (found.weight, found.normalize_obs, found.env_kwargs) == (1e-5, True, {"g": -9.81})
    own = {"use_sde": True, "normalize_advantage": False, "learning_rate": "lin_3e-4", "log_std_init": -2.5}
    assert own.items() <= found.learner_kwargs.items()
    assert found.reward_kwargs["hidden"] == (8, 8)


def test_any_name_and_number_comes_back_from_toml() -> None:
    values = {"title": '🚀 \x7f ü "\\', "🚀": {"low": math.inf, "high": -math.inf, "large": 1e22, "small": 5e-324}}
    assert tomllib.loads(as_toml(values)) == values


def test_a_date_among_the_choices_is_refused(tmp_path: Path) -> None:
    text = TOML.replace("[search.learner", "env_kwargs.day = [1979-05-27]\n[search.learner")
    with pytest.raises(RunError, match=r"^a date, 1979-05-27, is no value of a run; it takes numbers, strings, lists and tables$"):
        search(tmp_path, text).check()


def test_the_file_of_the_manual_is_taken(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/howto/tune.md").read_text()
    tuning = search(tmp_path, re.findall(r"```toml\n(.*?)```", page, flags=re.S)[0])
    tuning.check()
    assert (tuning.trials, tuning.seeds, len(tuning.search)) == (40, 2, 5)
