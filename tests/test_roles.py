"""The table of roles: every row holds, and something new is a file of its own and a row in at most two that stand."""

import importlib
import inspect
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import genrl.models
from genrl.errors import RunError
from genrl.roles import LEARNERS, MODELS, REWARDS, ROLES, WORLDS, attribute, classes
from genrl.runs import ImitateConfig

ROOT = Path(__file__).parents[1]
ROWS = [(role, part) for role in ROLES.values() for part in role.parts]


class TestEveryRow:
    @pytest.mark.parametrize(("role", "part"), ROWS, ids=lambda item: item.name)
    def test_names_a_class_of_its_role_in_one_line(self, role, part):
        assert issubclass(role.load(part.name), attribute(role.base))
        assert role.part(part.name) is part
        assert part.about and "\n" not in part.about and len(part.about) < 80

    @pytest.mark.parametrize(("role", "part"), ROWS, ids=lambda item: item.name)
    def test_has_a_name_that_no_other_row_of_its_role_has(self, role, part):
        assert [other.name for other in role.parts for name in (other.name, *other.also) if name == part.name] == [part.name]

    @pytest.mark.parametrize(("role", "part"), ROWS, ids=lambda item: item.name)
    def test_gives_defaults_only_to_keywords_that_the_class_has(self, role, part):
        known = {*inspect.signature(role.load(part.name)).parameters, "net_arch", "activation"}
        assert {name for values in part.defaults.values() for name in values} <= known

    def test_every_reward_that_the_package_exports_has_a_row(self):
        rewards = importlib.import_module("genrl.rewards")
        exported = {
            name for name in rewards.__all__ if inspect.isclass(cls := getattr(rewards, name)) and issubclass(cls, rewards.RewardModel)
        }
        assert exported - {"RewardModel", "AdversarialReward", "DynamicsReward", "EpisodicReward"} <= classes(REWARDS).keys()


@pytest.mark.parametrize("name", ["QR-DQN", "qr_dqn", "QRDQN", "qrdqn"])
def test_spelling_makes_no_difference(name):
    assert LEARNERS.part(name).name == "qrdqn"


@pytest.mark.parametrize("name", ["re3", "RE3", "StateEntropy", "state_entropy", "entropy"])
def test_a_part_goes_by_the_names_of_its_papers_and_its_class_too(name):
    assert REWARDS.part(name).name == "state-entropy"


def test_rows_that_share_a_class_are_told_apart_by_their_own_names():
    assert [MODELS.part(name).name for name in ("gan", "GAN", "dcgan", "infogan")] == ["gan", "gan", "dcgan", "infogan"]


@pytest.mark.parametrize(
    ("role", "name", "words"),
    [
        (REWARDS, "vim", "there is no reward 'vim'; did you mean vime?"),
        (LEARNERS, "none", "there is no learner 'none'; choose one of ppo, trpo"),
        (REWARDS, "math:sin", "the reward 'math:sin' is not a subclass of genrl.rewards.RewardModel"),
        (WORLDS, "math:sin", "the world 'math:sin' is not a subclass of genrl.worlds.Dynamics"),
        (REWARDS, "nomodule:Mine", "the reward 'nomodule:Mine' could not be imported"),
        (MODELS, "genrl.models.vae:VAE", "there is no model 'genrl.models.vae:VAE'; choose one of naive-bayes"),
    ],
)
def test_a_name_that_nothing_has_is_one_sentence(role, name, words):
    with pytest.raises(RunError, match=words.replace("?", r"\?")):
        role.load(name)


# --- something new, in a copy of the package ---

REWARD = '''
import torch
from genrl.rewards.base import RewardModel


class Steady(RewardModel):
    """The same for every step.

    Args:
        value: reward of each step.
    """

    def __init__(self, observation_space, action_space, *, value: float = 0.5, seed: int = 0) -> None:
        super().__init__(observation_space, action_space, seed)
        self.value = value

    def forward(self, transitions):
        return torch.full((transitions.batch_size,), self.value)
'''
COMMAND = '''
from dataclasses import dataclass

from genrl.cli._flags import parse


@dataclass(frozen=True)
class Greet:
    """Say a word."""

    word: str = "hello"
    """What is said."""


def main(argv):
    print(parse(Greet, argv, "genrl greet").word)
    return 0
'''
GUIDES = '''
class Guide:
    """Base of guides."""


class Patient(Guide):
    """A guide that counts.

    Args:
        pace: steps between two words.
    """

    def __init__(self, pace: int = 2) -> None:
        self.pace = pace
'''
GUIDING = """
from stable_baselines3.common.callbacks import BaseCallback

from genrl.runs.sockets import Plug


class Guiding(BaseCallback):
    def __init__(self, guide):
        super().__init__()
        self.guide, self.steps = guide, 0

    def _on_step(self):
        self.steps += 1
        return True

    def state_dict(self):
        return {"steps": self.steps, "pace": self.guide.pace}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def guide(setting):
    cls = setting.classes.get("guide")
    if cls is None:
        return None
    callback = Guiding(cls(**setting.config.guide_kwargs))
    return Plug("guide", [callback], callback)
"""
ROLE = """
GUIDES = Role(
    "guide", "genrl.guides:Guide", (Part("patient", "genrl.guides:Patient", "counts"),), plug="genrl.runs.guiding:guide", optional=True
)

ROLES: Mapping"""
FIELDS = '''
    guide: str = "none"
    """Any guide."""
    guide_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the guide's constructor."""

    def __post_init__(self) -> None:'''
SHORT = "explore --env Pendulum-v1 --learner ppo --steps 64 --learner.n-steps 64 --eval-episodes 0 --no-pictures"


class Copy:
    """A copy of the package in which something new is written."""

    def __init__(self, folder):
        self.folder = folder
        self.edited = set()
        shutil.copytree(ROOT / "genrl", folder / "genrl", ignore=shutil.ignore_patterns("__pycache__"))

    def add(self, name, text):
        path = self.folder / "genrl" / name
        assert not path.exists()
        path.write_text(text)

    def edit(self, name, *changes):
        self.edited.add(name)
        path = self.folder / "genrl" / name
        text = path.read_text()
        for before, after in changes:
            assert text.count(before) >= 1, before
            text = text.replace(before, after, 1)
        path.write_text(text)

    def genrl(self, words):
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "genrl", *words.split()]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


def test_a_new_reward_is_a_file_and_a_row(copy):
    copy.add("rewards/steady.py", REWARD)
    copy.edit("roles.py", ('Part("constant",', 'Part("steady", "genrl.rewards.steady:Steady", "the same"), Part("constant",'))
    assert copy.edited == {"roles.py"}
    assert "reward of each step." in copy.genrl("explore --reward steady --help")
    assert "steady" in copy.genrl("list rewards")
    copy.genrl(f"{SHORT} --reward steady --reward.value 0.25 --out run")
    assert '"bonus_mean": 0.25' in (copy.folder / "run" / "result.json").read_text()
    assert (copy.folder / "run" / "reward.safetensors").is_file()


def test_a_new_command_is_a_file_and_a_line(copy):
    copy.add("cli/greet.py", COMMAND)
    copy.edit("cli/__init__.py", ('    "watch": ', '    "greet": "say a word",\n    "watch": '))
    assert copy.edited == {"cli/__init__.py"}
    assert "say a word" in copy.genrl("--help")
    assert copy.genrl("greet --word hi") == "hi\n"


def test_a_new_socket_is_its_files_and_edits_of_two(copy):
    copy.add("guides.py", GUIDES)
    copy.add("runs/guiding.py", GUIDING)
    copy.edit("roles.py", ("\nROLES: Mapping", ROLE), ("REWARDS, WORLDS", "REWARDS, GUIDES, WORLDS"))
    copy.edit(
        "runs/config/run.py",
        ('roles = ("learner", "reward")', 'roles = ("learner", "reward", "guide")'),
        ("\n    def __post_init__(self) -> None:", FIELDS),
    )
    assert copy.edited == {"roles.py", "runs/config/run.py"}
    assert "steps between two words." in copy.genrl("explore --guide patient --help")
    assert "patient" in copy.genrl("list guides")
    copy.genrl(f"{SHORT} --reward none --guide patient --guide.pace 3 --out run")
    copy.genrl("resume run --steps 128")
    from genrl.files import load_state

    assert load_state(copy.folder / "run" / "checkpoint.safetensors")["plugs"]["guide"] == {"steps": 128, "pace": 3}


def test_what_the_models_offer_is_listed_before_it_is_imported() -> None:
    """As the tab key and the site's reference see them."""
    assert {"VAE", "JEPA", "fit", "load_model"} <= set(dir(genrl.models))


@pytest.mark.parametrize("name", ["sac", "tqc"])
def test_what_an_imitation_gives_these_learners_is_what_its_table_was_measured_with(name):
    study = tomllib.loads((ROOT / "demos" / "studies" / "imitate_unseen_steps.toml").read_text())["run"]
    given = LEARNERS.part(name).defaults["imitate"]
    assert {key: given.get(key) for key in study["learner_kwargs"]} == study["learner_kwargs"]
    assert ImitateConfig(learner=name).weight == study["weight"]
