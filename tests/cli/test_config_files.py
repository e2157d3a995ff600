"""`--config FILE` begins with what a file says; what is typed wins, and the file decides neither what is imported nor where is written."""

from __future__ import annotations

import csv
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from genrl.cli._flags import parse_run
from genrl.errors import RunError
from genrl.runs import DreamConfig, ExploreConfig, ImitateConfig, explore
from genrl.runs.config.zoo import read_zoo
from tests.runs.same_directory import assert_same_directory
from tests.runs.test_rewind import stopped_and_resumed
from tests.runs.tiny import config

PENDULUM = """
Pendulum-v1: &default
  n_timesteps: !!float 2e4
  n_envs: 4
  policy: 'MlpPolicy'
  n_steps: 64
  batch_size: 32
  learning_rate: lin_0.001
  clip_range: 0.1
  ent_coef: 4.5e-07
  normalize: true
  policy_kwargs: "dict(log_std_init=-2, ortho_init=False, activation_fn=nn.ReLU,
                       net_arch=[dict(pi=[16, 8], vf=[16, 8])])"
CartPole-v1:
  <<: *default
  gamma: 0.98
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(text: str, *words: str, name: str = "mine.toml", kind: type[Any] = ExploreConfig) -> Any:
    Path(name).write_text(text)
    return parse_run(kind, ["--config", name, *words])


def test_the_config_of_a_run_begins_the_same_run(folder: Path) -> None:
    first = explore(config(folder / "first", normalize_obs=True), quiet=True)
    again = parse_run(ExploreConfig, ["--config", "first/config.json", "--out", "again"])
    assert explore(again, quiet=True)["evaluation_returns"] == first["evaluation_returns"]
    assert parse_run(ExploreConfig, ["--config", "first/config.json"]).directory == Path("runs/Pendulum-v1-ppo-none-seed0")


def test_what_is_typed_wins() -> None:
    own = "learner_kwargs = {n_steps = 32, net_arch = [8]}\nenv_kwargs.g = 9"
    text = f'env = "Pendulum-v1"\nlearner = "ppo"\nsteps = 300\nnormalize-obs = true\n{own}'
    assert asked(text).learner_kwargs["n_steps"] == 32
    found = asked(text, "--steps", "500", "--learner.n-steps", "64", "--no-normalize-obs", "--env.g", "8")
    assert (found.steps, found.normalize_obs, found.env_kwargs) == (500, False, {"g": 8})
    assert (found.learner_kwargs["n_steps"], found.learner_kwargs["net_arch"]) == (64, (8,))


def test_hyperparameters_stay_with_the_part_that_the_file_names() -> None:
    text = 'env = "Pendulum-v1"\nlearner = "ppo"\npolicy = "MlpPolicy"\nlearner_kwargs.gamma = 0.5\nenv_kwargs.g = 9\nreward = "rnd"'
    other = asked(text, "--learner", "sac")
    assert (other.learner_kwargs["gamma"], other.policy, other.reward, other.env_kwargs) == (0.99, "auto", "rnd", {"g": 9})
    elsewhere = asked(text, "--env", "CartPole-v1")
    assert (elsewhere.learner_kwargs["gamma"], elsewhere.policy, elsewhere.env_kwargs) == (0.5, "auto", {})


def test_every_command_that_trains_a_learner_takes_a_file() -> None:
    assert asked('demos = "mine.npz"\nevery = 20', kind=ImitateConfig).every == 20
    found = asked('world_kwargs.members = 3\nhorizon = 7\nreward = "none"', kind=DreamConfig)
    assert (found.world_kwargs["members"], found.horizon) == (3, 7)


def test_an_entry_of_rl_zoo3_in_the_names_of_genrl() -> None:
    found = asked(PENDULUM, "--env", "Pendulum-v1", name="ppo.yml")
    assert (found.env, found.learner, found.steps, found.n_envs, found.policy) == ("Pendulum-v1", "ppo", 20_000, 4, "MlpPolicy")
    assert (found.normalize_obs, found.normalize_reward) == (True, True)
    own = {
        "n_steps": 64, "batch_size": 32, "learning_rate": "lin_0.001", "clip_range": 0.1, "ent_coef": 4.5e-7, "gamma": 0.99,
        "log_std_init": -2, "ortho_init": False, "activation": "relu", "net_arch": (16, 8),
    }  # fmt: skip
    assert own.items() <= found.learner_kwargs.items()
    assert asked(PENDULUM, "--env", "CartPole-v1", name="ppo.yml").learner_kwargs["gamma"] == 0.98
    with pytest.warns(UserWarning, match="those of Pendulum-v1; there are none of Pendulum-v7"):
        assert asked(PENDULUM, "--env", "Pendulum-v7", name="ppo.yml").env == "Pendulum-v7"
    with pytest.raises(RunError, match="it has no task Ant-v5, but 2, such as Pendulum-v1; choose another one by --env"):
        asked(PENDULUM, "--env", "Ant-v5", name="ppo.yml")


@pytest.mark.parametrize(
    ("name", "entry", "fields", "kwargs"),
    [
        ("ppo", "normalize: \"{'norm_obs': False, 'norm_reward': True}\"", {"normalize_obs": False, "normalize_reward": True}, {}),
        ("ppo", "normalize: dict(norm_reward=False)", {"normalize_obs": True, "normalize_reward": False}, {}),
        ("sac", "policy_kwargs: dict(net_arch=[400, 300])", {}, {"net_arch": [400, 300]}),
        ("sac", "policy_kwargs: dict(net_arch=dict(pi=[64, 64], qf=[64, 64]))", {}, {"net_arch": [64, 64]}),
        ("td3", "{noise_type: normal, noise_std: 0.1}", {}, {"action_noise": 0.1}),
        ("sac", "{train_freq: [1, episode], ent_coef: auto}", {}, {"train_freq": [1, "episode"], "ent_coef": "auto"}),
        ("ppo_lstm", "{frame_stack: 4, env_wrapper: null}", {"learner": "recurrentppo", "history": 4}, {}),
        ("mine", "{n_timesteps: 1e5}", {"learner": "trpo", "steps": 100_000}, {}),
    ],
)
def test_the_forms_of_rl_zoo3(name: str, entry: str, fields: dict[str, Any], kwargs: dict[str, Any]) -> None:
    entry = entry if entry.startswith("{") else f"{{{entry}}}" if '"' in entry else f"\n  {entry}"
    found = read_zoo(f"Pendulum-v1: {entry}", name, ExploreConfig, {"learner": "trpo"} if name == "mine" else {})
    assert fields.items() <= found.items()
    assert found["learner_kwargs"] == kwargs


REFUSED = {
    "mine.toml": {
        "lerner = 'ppo'": "'lerner', which is no flag of genrl explore; did you mean learner",
        "steps = 'many'": "steps is 'many', but must be a whole number",
        "learner = 'ppo'\nlearner_kwargs.n_step = 3": "PPO has no learner_kwargs.n_step; did you mean n_steps?",
        "learner = 'ppo'\nlearner_kwargs.n_steps = 'x'": "learner_kwargs.n_steps is 'x', but must be a whole number",
        "learner = 'ppo'\nlearner_kwargs.learning_rate = 'lin_x'": "but must be a number, or lin_ and a number, such as lin_3e-4",
        "command = 'imitate'": "it is of another command; type genrl imitate",
        "env = 'evil_module:Task-v0'": "env evil_module:Task-v0 would import evil_module; if you trust it, add --imports evil_module",
        "reward = 'evil_module:Reward'": "would import evil_module",
        "env = 'Pendulum-v1'\nenv_kwargs.xml_file = '/etc/passwd'": "--env.xml_file /etc/passwd could import a module or read a file",
        "out = '../elsewhere'": "its out, ../elsewhere, is not in this folder; if you trust it, type --out ../elsewhere",
        "encoder = '/tmp/eyes'": "its encoder, /tmp/eyes, is not in this folder",
        "steps = ": "mine.toml is not TOML",
    },
    "mine.cfg": {"": "its name ends neither in .json"},
    "mine.json": {
        '{"command": "generate"}': "it is of no command that trains a learner; give the config.json of a run of explore, imitate or dream",
        '{"command": "fly"}': "it is of no command that trains a learner",
        "[]": "holds a JSON list where an object is needed",
        "{": "is not valid JSON",
    },
    "ppo.yml": {
        "A-v0: {}\nB-v0: {}": "it has 2 tasks, such as A-v0; say which by --env",
        "A-v0: 3": "it is no table of tasks",
        "A-v0: [": "it is not plain YAML",
        "A-v0: {n_steps: !!python/object/apply:os.system [id]}": "it is not plain YAML (could not determine a constructor",
        "A-v0: {callback: os.system}": "it has callback, which names code to be run",
        "A-v0: {env_wrapper: [evil.Wrapper]}": "it has env_wrapper, which names code to be run; register a task of your own",
        "A-v0: {policy_kwargs: 'dict(net_arch=[64] * 10 ** 9)'}": "policy_kwargs holds code, which genrl never runs",
        "A-v0: {policy_kwargs: \"__import__('os').system('id')\"}": "policy_kwargs holds code, which genrl never runs",
        "A-v0: {policy_kwargs: 'dict(net_arch=dict(pi=[64], vf=[32]))'}": "one list of widths, for the policy and for the value",
        "A-v0: {policy_kwargs: 'dict(activation_fn=nn.GELU)'}": "activation_fn is nn.GELU, but genrl has nn.Tanh",
        "A-v0: {policy_kwargs: 'dict(n_critics=1)'}": "policy_kwargs has n_critics, which genrl has no flag for",
        "A-v0: {normalize: 'dict(clip_obs=3)'}": "genrl can only say norm_obs and norm_reward",
        "A-v0: {noise_type: ornstein-uhlenbeck}": "genrl has normal alone",
        "A-v0: {n_steps: {a: 1}}": "learner_kwargs.n_steps is {'a': 1}, but must be a whole number",
    },
    "unknown.yml": {"A-v0: {}": "its name is no learner's, such as ppo.yml; say which by --learner"},
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in REFUSED.items() for text in texts])
def test_what_a_file_can_not_say_is_one_sentence(name: str, text: str) -> None:
    with pytest.raises(RunError) as refusal:
        asked(text, name=name)
    assert REFUSED[name][text] in str(refusal.value)
    assert any(word in str(refusal.value) for word in (name, "--learner", "learner_kwargs"))
    assert "evil_module" not in sys.modules


def test_a_folder_is_told_which_file_is_meant(folder: Path) -> None:
    (folder / "run.1").mkdir()
    with pytest.raises(RunError, match=r"^--config run.1: it is a folder; give the file of a run in it: --config run.1/config.json$"):
        parse_run(ExploreConfig, ["--config", "run.1"])


def test_what_is_typed_is_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "my_module.py").write_text("from tests.runs.tiny import Surprise\n")
    assert asked("reward = 'my_module:Surprise'", "--imports", "my_module").reward == "my_module:Surprise"
    assert asked("out = '../elsewhere'", "--out", "../here").directory == Path("../here")
    assert asked("env = 'evil_module:Task-v0'", "--env", "Pendulum-v1").env == "Pendulum-v1"


CHAIN = [(b, ", ".join([f"*{a}"] * 30)) for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
BOMBS = {
    "aliases": "a: &a {x: [1, 1]}\n" + "".join(f"{name}: &{name} {{x: [{others}]}}\n" for name, others in CHAIN),
    "merges": "a: &a {x: 1}\n" + "".join(f"{name}: &{name} {{<<: [{others}], y{name}: 1}}\n" for name, others in CHAIN),
    "depth": "a: {x: " + "[" * 5000 + "]" * 5000 + "}",
    "itself": "a: &a {x: [*a]}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_that_unfolds_to_more_than_it_holds_is_refused_at_once(bomb: str) -> None:
    began = time.process_time()
    with pytest.raises(RunError, match=r"larger values|not plain YAML"):
        read_zoo(BOMBS[bomb], "ppo", ExploreConfig, {})
    assert time.process_time() - began < 2


def test_without_yaml_one_sentence_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(RunError, match=r"a YAML file needs yaml, which is not installed; type: pip install 'genrl-toolkit\[zoo\]'"):
        asked(PENDULUM, name="ppo.yml")


def test_lin_falls_linearly_to_zero_and_a_resumed_run_falls_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kwargs = {"learning_rate": "lin_0.008", "clip_range": "lin_0.4", "n_steps": 64, "batch_size": 32, "n_epochs": 1, "net_arch": (8,)}
    explore(config(folder / "whole", learner_kwargs=kwargs), quiet=True)
    rows = list(csv.DictReader((folder / "whole/progress.csv").open()))
    assert [float(row["train/learning_rate"]) for row in rows if row["train/learning_rate"]] == pytest.approx(
        [0.006, 0.004, 0.002]
    )  # as of before each update
    assert [float(row["train/clip_range"]) for row in rows if row["train/clip_range"]] == pytest.approx([0.3, 0.2, 0.1])
    stopped_and_resumed(config(folder / "parts", learner_kwargs=kwargs), 2, monkeypatch)
    assert_same_directory(folder / "whole", folder / "parts")


def test_the_files_of_the_manual_are_taken() -> None:
    page = (Path(__file__).parents[2] / "docs/howto/config.md").read_text()
    toml, zoo = (re.findall(f"```{language}\n(.*?)```", page, flags=re.S)[0] for language in ("toml", "yaml"))
    assert asked(toml).learner_kwargs["learning_rate"] == "lin_3e-4"
    found = asked(zoo, name="ppo.yml")
    assert (found.steps, found.learner_kwargs["ortho_init"], found.learner_kwargs["net_arch"]) == (100_000, False, (64, 64))


@pytest.mark.parametrize(
    "given",
    [
        ExploreConfig(env="CartPole-v1", learner="dqn", reward="none", coverage=("0", "1"), noise_std=None, history=2),
        ImitateConfig(demos=Path("mine.npz"), learner="sac", expert_fraction=0.25, episodes=3),
        DreamConfig(learner="sac", reward="rnd", eta=0.5, stop_quantile=0.9, horizon=5),
    ],
    ids=lambda given: given.command,
)
def test_every_field_of_a_configuration_comes_back(given: Any) -> None:
    Path("config.json").write_text(json.dumps(given.to_dict() | {"about": {}}))
    found = parse_run(type(given), ["--config", "config.json"])
    names = [name for name in given.fields() if not name.endswith("_kwargs") and name != "out"]
    assert {name: getattr(found, name) for name in names} == {name: getattr(given, name) for name in names}
