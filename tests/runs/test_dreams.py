"""Runs whose learner also learns in a model of its task."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import ConvertCallback

from genrl.cli import main
from genrl.cli._flags import parse_run
from genrl.data import Demonstrations
from genrl.errors import RunError
from genrl.files import load_state, write_json
from genrl.runs import DreamConfig, dream, resume, train
from genrl.runs.callbacks.recorder import Recorder
from genrl.runs.config.commands import config_from
from genrl.runs.directory import RunDirectory
from genrl.runs.dreams import comparison
from genrl.runs.dreams.offline import DreamedTask, recorded_steps
from genrl.runs.opening import load_config, trained
from genrl.runs.play import episode_returns
from genrl.runs.uses.record import Recording
from genrl.worlds import Practice
from tests.worlds.analytic import LinearGaussian

SMALL: dict[str, Any] = {"fit_steps": 20, "world_kwargs": {"members": 2, "hidden": (8,)}, "eval_episodes": 1, "pictures": False}
PPO = {"learner": "ppo", "dream_every": 100, "dreamed_steps": 600, "learner_kwargs": {"n_steps": 100, "batch_size": 50, "net_arch": (8,)}}
SAC = {"learner": "sac", "dream_every": 50, "dreamed_steps": 64, "horizon": 2, "reward": "disagreement"}
SAC |= {"learner_kwargs": {"gradient_steps": 1, "learning_starts": 260, "batch_size": 16, "net_arch": (8,)}}


@pytest.fixture(autouse=True)
def few_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two policies in place of eleven, for speed."""
    monkeypatch.setattr(comparison, "SHARES", (0.0, 1.0))
    monkeypatch.setattr(comparison, "BLURRED_LONGEST", 20)
    monkeypatch.setattr(comparison, "JUDGED_EPISODES", 3)


def run(path: Path, kind: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    return dream(DreamConfig(env="Pendulum-v1", out=path, **SMALL | kind | kwargs), quiet=True)


def tensors(state: Any) -> list[torch.Tensor]:
    if isinstance(state, dict):
        return [tensor for _, value in sorted(state.items()) for tensor in tensors(value)]
    if isinstance(state, list):
        return [tensor for value in state for tensor in tensors(value)]
    return [state] if isinstance(state, torch.Tensor) else []


@pytest.mark.parametrize(("kind", "half", "whole"), [(PPO, 200, 400), (SAC, 330, 400)], ids=["ppo", "sac"])
def test_a_run_that_goes_on_ends_as_one_that_never_stopped(tmp_path: Path, kind: dict[str, Any], half: int, whole: int) -> None:
    straight = run(tmp_path / "straight", kind, steps=whole)
    run(tmp_path / "stopped", kind, steps=half)
    resumed = resume(tmp_path / "stopped", steps=whole, quiet=True)
    assert resumed["evaluation_returns"] == straight["evaluation_returns"]
    for name in ("checkpoint", "world"):
        one, other = (load_state(tmp_path / folder / f"{name}.safetensors") for folder in ("straight", "stopped"))
        for state in (one, other):
            state.pop("recorder", None)  # which has the seconds
        assert len(tensors(one)) == len(tensors(other)) > 3
        assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


OFFLINE: dict[str, Any] = {
    "learner": "ppo",
    "n_envs": 4,
    "horizon": 12,
    "fit_steps": 30,
    "learner_kwargs": {"n_steps": 10, "batch_size": 20, "net_arch": (8,)},
}


def recording(
    path: Path,
    reward: float = 1.0,
    steps: int = 150,
    episodes: int = 2,
    env_id: str = "Pendulum-v1",
    disturb: float = 0.0,
    scale: float = 1.0,
    shift: float = 0.0,
) -> Path:
    env = Recording(gymnasium.make("Pendulum-v1", max_episode_steps=steps))
    env.action_space.seed(0)
    for seed in range(episodes):
        env.reset(seed=seed)
        while not any(env.step(env.action_space.sample())[2:4]):
            pass
    found = [
        replace(episode, rewards=reward * episode.rewards, observations=scale * episode.observations + shift) for episode in env.episodes
    ]
    Demonstrations.from_episodes(found, env_id, {}, {"disturb": disturb}, str(path)).save(path)
    return path


@pytest.fixture
def never_stepped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of real steps that were taken."""
    taken: list[int] = []
    step = PendulumEnv.step
    monkeypatch.setattr(PendulumEnv, "step", lambda self, action: (taken.append(1), step(self, action))[1])
    return taken


def test_an_offline_dream_never_touches_the_task(tmp_path: Path, never_stepped: list[int]) -> None:
    file = recording(tmp_path / "steps.npz")
    never_stepped.clear()
    result = train(DreamConfig(out=tmp_path / "run", demos=file, steps=200, **SMALL | OFFLINE | {"eval_episodes": 0}), quiet=True)
    assert never_stepped == []
    assert result["status"] == "finished"
    assert result["steps"] == 200
    rows = np.genfromtxt(tmp_path / "run" / "episodes.csv", delimiter=",", names=True)
    assert rows["length"].max() == 12
    assert all(50 - 12 < rows["length"][rows["env"] == row].sum() <= 50 for row in range(4))


def test_the_returns_of_an_offline_dream_are_the_tasks_without_what_uncertainty_costs() -> None:
    model = LinearGaussian(members=2, apart=1.0)  # whose means differ by 1: an uncertainty of ¼ in each entry
    task = DreamedTask(model, torch.tensor([[0.0, 1.0]]), 2, 3, eta=-10.0)
    task.reset()
    learnt, ended = np.zeros(2), []
    for _ in range(3):
        _, reward, _, infos = task.step(np.zeros((2, 1), np.float32))
        learnt += reward
        ended = [info["episode"]["r"] for info in infos if "episode" in info]
    np.testing.assert_allclose(ended, learnt + 3 * 10 * 0.25, rtol=1e-5)
    assert ended[0] == pytest.approx(-(0.1**2 + 0.19**2 + 0.271**2), abs=1e-5)  # 0.1 · (1 + 0.9 + 0.81), step by step


def test_the_first_reward_of_an_offline_dream_is_the_tasks_and_not_what_uncertainty_earns(tmp_path: Path) -> None:
    task = DreamedTask(LinearGaussian(members=2, apart=1.0), torch.tensor([[0.0, 1.0]]), 2, 3, eta=100.0)
    recorder = Recorder(RunDirectory(tmp_path), None, ("x", "v"))
    paid: list[float] = []
    look = ConvertCallback(lambda local, _: bool(paid.extend(local["rewards"].tolist())) or True)
    A2C("MlpPolicy", task, n_steps=4).learn(8, callback=[recorder, look])
    assert min(paid) > 1  # all uncertainty: this task pays -x²
    assert recorder.first_reward_step is None


@pytest.mark.parametrize(("typed", "gravity"), [({}, 5.0), ({"g": 3.0}, 3.0)])
def test_an_offline_dream_is_judged_by_the_task_that_was_recorded(typed, gravity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = recording(tmp_path / "steps.npz")
    Demonstrations.from_episodes(Demonstrations.load(file).episodes, "Pendulum-v1", {"g": 5.0}).save(file)
    acted_by: set[float] = set()
    step = PendulumEnv.step
    monkeypatch.setattr(PendulumEnv, "step", lambda self, action: (acted_by.add(self.g), step(self, action))[1])
    train(DreamConfig(out=tmp_path / "run", demos=file, env_kwargs=typed, steps=200, **SMALL | OFFLINE), quiet=True)
    assert acted_by == {gravity}
    assert json.loads((tmp_path / "run" / "config.json").read_text())["env_kwargs"] == {"g": gravity}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"truncations": False}, "does not say why 1 of its episodes ended, so no such end is dreamed of"),
        (
            {"terminations": True, "last_successor": False},
            "lacks the last step of 2 episodes, which ended them, so no such end",
        ),
        ({"terminations": True}, None),
        ({}, None),
    ],
)
def test_an_offline_dream_tells_of_ends_that_its_steps_do_not_show(
    changes: dict[str, bool], said: str | None, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Of the two episodes, the last may be unfinished."""
    file = recording(tmp_path / "steps.npz")
    found = []
    for episode in Demonstrations.load(file).episodes:
        last = np.arange(len(episode)) == len(episode) - 1
        if "truncations" in changes:
            episode = replace(episode, truncations=last & False)
        if "terminations" in changes:
            episode = replace(episode, terminations=last, truncations=last & False)
        if "last_successor" in changes:
            episode = replace(episode, observations=episode.observations[:-1], last_successor=False)
        found.append(episode)
    Demonstrations.from_episodes(found, "Pendulum-v1").save(file)
    recorded_steps(DreamConfig(demos=file), gymnasium.make("Pendulum-v1"))
    told = [str(warning.message) for warning in recwarn if "dreamed of" in str(warning.message)]
    assert len(told) == (said is not None)
    assert all(said is not None and said in words for words in told)


def test_an_offline_dream_that_goes_on_ends_as_one_that_never_stopped(tmp_path: Path) -> None:
    kind = OFFLINE | {"demos": recording(tmp_path / "steps.npz")}
    straight = run(tmp_path / "straight", kind, steps=400)
    run(tmp_path / "stopped", kind, steps=200)
    resumed = resume(tmp_path / "stopped", steps=400, quiet=True)
    assert resumed["evaluation_returns"] == straight["evaluation_returns"]
    one, other = (load_state(tmp_path / folder / "checkpoint.safetensors") for folder in ("straight", "stopped"))
    for state in (one, other):
        state.pop("recorder", None)
        state["learner"].pop("ep_info", None)  # which has the seconds
    assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def test_an_offline_dream_is_cautious_by_default_and_has_short_rollouts_of_many_rows() -> None:
    config = parse_run(DreamConfig, ["--demos", "steps.npz"])
    assert isinstance(config, DreamConfig)
    assert (config.learner_kwargs["n_steps"], config.learner_kwargs["batch_size"]) == (32, 1024)
    assert parse_run(DreamConfig, []).learner_kwargs["n_steps"] == 500
    assert (config.eta, config.steps, config.n_envs, config.fit_steps) == (-10.0, 500_000, 256, 3000)
    assert (DreamConfig().eta, DreamConfig().steps, DreamConfig().n_envs, DreamConfig().fit_steps) == (0.0, 3000, 1, 500)


@pytest.mark.parametrize(
    ("made", "words", "said"),
    [
        ({"reward": 0.0}, [], "has no rewards (all of its 300 are 0)"),
        (
            {"reward": float("nan")},
            [],
            "has no rewards (300 of its 300 are unknown), and a dream has only those that it learned",
        ),
        ({"scale": 100.0}, [], "observations of STEPS are far outside of the box of Pendulum-v1, so a dream of them is none of this task"),
        ({"shift": 100.0}, [], "of the 3 numbers that Pendulum-v1 begins with are more than 10 standard deviations from the mean"),
        ({}, ["--eta", "nan"], "--eta is nan, but must be between -1e+06 and 1e+06"),
        ({"episodes": 1}, [], "genrl: STEPS has 150 steps, but a dream needs at least 200"),
        ({"disturb": 0.5}, [], "has the actions that a policy meant, not those that its task executed (--disturb 0.5)"),
        ({"env_id": "Swimmer-v5"}, [], "STEPS was recorded on Swimmer-v5, but the task is Pendulum-v1; type --env Swimmer-v5"),
        ({}, ["--env", "Hopper-v5"], "STEPS was recorded on Pendulum-v1, but the task is Hopper-v5; type --env Pendulum-v1"),
        ({}, ["--learner", "sac"], "sac has a replay buffer; a dream alone needs rollouts, so type --learner ppo"),
        ({}, ["--world", "none"], "there would be nothing to learn in"),
        (None, [], "there are no demonstrations at"),
    ],
)
def test_an_offline_dream_that_cannot_be_is_one_sentence(
    made: dict[str, Any] | None, words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "steps.npz"
    if made is not None:
        recording(file, **made)
    assert main(["dream", "--demos", str(file), "--out", str(tmp_path / "run"), *words]) == 2
    error = capsys.readouterr().err
    assert said.replace("STEPS", str(file)) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_finished_run_compares_its_dream_with_reality(tmp_path: Path) -> None:
    result = run(tmp_path / "run", PPO, steps=200, pictures=True)
    found = json.loads((tmp_path / "run" / "dream.json").read_text())
    assert len(found["real_returns"]) == len(found["dream_returns"]) == 3
    assert found["quality"]["rows"] == 3 * 200
    assert found["policies"]["names"] == ["0% random", "100% random"]
    assert abs(found["policies"]["rank_correlation"]) == pytest.approx(1.0)
    assert result["evaluation_error"] is None
    assert result["dream"]["real_return"] == found["real_return"]
    assert (tmp_path / "run" / "dream.png").stat().st_size > 10_000
    header = (tmp_path / "run" / "progress.csv").read_text().split("\n")[0]
    assert {"dream/held_out_loss", "dream/fit_seconds", "dream/clipped"} <= set(header.split(","))


def test_the_control_is_a_run_without_a_world(tmp_path: Path) -> None:
    result = run(tmp_path / "run", PPO, steps=100, world="none", world_kwargs={})
    assert result["status"] == "finished"
    assert not (tmp_path / "run" / "world.safetensors").exists()


def test_a_configuration_comes_back_from_its_json() -> None:
    config = DreamConfig(learner="sac", world="bayesian", stop_quantile=0.9, horizon=5)
    assert config_from(json.loads(json.dumps(config.to_dict()))) == DreamConfig.read(
        {name: value for name, value in json.loads(json.dumps(config.to_dict())).items() if name != "command"}
    )
    assert (DreamConfig(learner="sac").horizon, config.dreamed_steps, config.normalize_reward) == (1, 10_000, False)
    assert (DreamConfig().horizon, DreamConfig().dreamed_steps, DreamConfig().normalize_reward) == (50, 150_000, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--horizon", "0"], "--horizon is 0, but must be at least 1"),
        (["--learner", "sac", "--horizon", "10001"], "--horizon is 10001, but --dreamed-steps is 10000, less than a single dream"),
        (["--eta", "nan"], "--eta is nan, but must be between"),
        (["--eta", "1e300"], "--eta is 1e+300, but must be between"),
        (["--share", "1"], "--share is 1.0, but must be above 0 and below 1"),
        (["--reward", "rnd"], "type --eta 1 to explore"),
        (["--env", "FrozenLake-v1"], "takes observations of a flat Box"),
        (["--world", "ensembel"], "did you mean ensemble"),
        (["--world", "none", "--world.members", "3"], "--world"),
        (["--steps", "200"], "the model is fitted after 500 real steps"),
        (["--stop-quantile", "2"], "--stop-quantile is 2.0"),
        (["--learner", "sac", "--stop-quantile", "0.9"], "in a dream of one step there is nothing to stop; give more by --horizon"),
        (["--eta", "1", "--world.members", "1"], "--eta 1 needs members that can disagree, but there is one; give more by"),
        (["--share", "0.5"], "--share is 0.5, but ppo practises in dreams, and has no batches to share; leave it out"),
        (["--demos", "mine.hdf5", "--dreamed-steps", "8"], "with --demos the dream is the task, of --steps steps; leave it out"),
        (["--demos", "mine.hdf5", "--dream-every", "80"], "--dream-every is 80, but with --demos the dream is the task"),
        (["--rows", "0"], "--rows is 0, but must be at least 1"),
        (["--rows", "2000000000"], "--rows is 2000000000, but must be at most 65,536"),
        (["--dream-batch", "1"], "--dream-batch is 1, but must be at least 2"),
        (["--margin", "-1"], "--margin is -1.0, but must be at least 0"),
        (["--margin", "inf"], "--margin is inf, but must be finite"),
        (["--margin", "nan"], "--margin is nan, but must be finite"),
        (["--learner", "sac", "--rows", "8"], "--rows is 8, but sac has imagined transitions in its batches; leave it out"),
        (["--demos", "mine.hdf5", "--dream-batch", "8"], "the dream is the task; type --learner.batch-size 8"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_is_written(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["dream", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_command_can_be_resumed_and_ends_with_the_next_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "run", PPO, steps=100)
    assert main(["resume", str(tmp_path / "run"), "--steps", "200"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"return in the dream +\S+, and \S+ in reality, from the same starts", " ".join(told.split()))
    assert f"watch it: genrl watch {tmp_path / 'run'}" in told
    with pytest.raises(RunError, match="has all its 200 steps"):
        resume(tmp_path / "run")


@pytest.mark.parametrize(("error", "title"), [(None, "the model: no episode has two steps"), (0.0, "the model")])
def test_a_model_without_an_error_above_zero_is_drawn(error, title, tmp_path, monkeypatch):
    """Of episodes of one step, or of a task in which nothing ever changes."""
    from genrl.runs import pictures
    from genrl.runs.directory import RunDirectory

    run = RunDirectory(tmp_path)
    write_json(run.config, {"env": "mine:Task-v0", "learner": "ppo", "reward": "none", "world": "ensemble", "seed": 3})
    errors = {name: [error, error] for name in ("model", "persistence", "constant velocity")}
    found = {"quality": {"horizons": [1, 5], "error": errors}, "real_returns": [1.0], "dream_returns": [1.5]}
    save, drawn = pictures.save_figure, []
    monkeypatch.setattr(pictures, "save_figure", lambda run, name, figure: drawn.append(figure) or save(run, name, figure))
    pictures.draw_dream(run, found | {"policies": {"real": [1.0, 0.5], "dream": [1.5, 0.7], "rank_correlation": None}})
    assert drawn[0].axes[0].get_title(loc="left") == title
    assert (tmp_path / "dream.png").is_file()


def test_the_picture_of_a_dream_names_its_task_learner_world_and_seed(tmp_path, monkeypatch):
    from genrl.runs import pictures
    from genrl.runs.directory import RunDirectory

    run = RunDirectory(tmp_path)
    write_json(run.config, {"env": "mine:Task-v0", "learner": "ppo", "reward": "none", "world": "ensemble", "seed": 3})
    drawn = []
    monkeypatch.setattr(pictures, "save_figure", lambda run, name, figure: drawn.append((name, figure)))
    found = {"quality": {"horizons": [1, 5], "error": {"model": [0.1, None]}}, "real_returns": [1.0, 2.0], "dream_returns": [1.5, 2.5]}
    policies = {"real": [1.0, 0.5], "dream": [1.5, 0.7], "rank_correlation": None}
    pictures.draw_dream(run, found | {"policies": policies})
    ((name, figure),) = drawn
    assert (name, figure.get_suptitle()) == ("dream", "Task-v0, ppo + ensemble, seed 3")
    blurred, by_start = figure.axes[1].collections
    assert (blurred.get_label(), blurred.get_offsets().tolist()) == ("10 to 100 % random actions", [[0.5, 0.7]])
    assert by_start.get_offsets().tolist() == [[1.0, 1.5], [2.0, 2.5]]


def test_a_dream_is_as_wide_and_goes_as_far_as_the_flags_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Practice] = []

    class Watched(Practice):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr("genrl.runs.dreams.world.Practice", Watched)
    run(tmp_path / "run", PPO, steps=100, rows=3, dream_batch=24, margin=2.0)
    assert (made[0].dream.num_envs, made[0].batch_size, made[0].dream.margin) == (3, 24, 2.0)


def test_a_policy_with_a_memory_keeps_it_while_reality_and_dream_are_compared(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(out, PPO, steps=100, learner="recurrentppo")
    found = json.loads((out / "dream.json").read_text())
    with trained(RunDirectory(out), load_config(RunDirectory(out))) as session:
        played = episode_returns(session, 3, comparison.SEED)
    np.testing.assert_allclose(found["real_returns"], played, rtol=1e-4)
