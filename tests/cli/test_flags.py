"""Every flag of every command says what it does, with every part that the command can be given."""

import re
from dataclasses import dataclass

import pytest
import tyro

from genrl.cli import COMMANDS, main
from genrl.cli._flags import parse_run
from genrl.roles import ROLES
from genrl.runs import ExploreConfig
from genrl.runs.config.base import Config
from genrl.runs.config.hyperparameters import helps
from genrl.runs.config.imitate import ImitateConfig

pytestmark = pytest.mark.filterwarnings("ignore:get_parser")  # which tyro may remove; it lists flags without drawing boxes

DEFAULT = re.compile(r"\((default|required|optional|repeatable|fixed|if unset|sets)[^()]*(\([^()]*\)[^()]*)*\)$")
"""What tyro adds by itself."""


def asked(command, *words):
    """What `genrl COMMAND words --help` shows flags of."""
    kinds = []

    def cli(kind, **_):
        kinds.append(kind)
        raise SystemExit(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tyro, "cli", cli)
        with pytest.raises(SystemExit):
            main([command, *words, "--help"])
    return kinds[0]


def flags_without_help(kind):
    """Names of the flags that say nothing."""
    actions = tyro.extras.get_parser(kind)._actions
    assert actions
    return [str(action.option_strings or action.dest) for action in actions if not DEFAULT.sub("", str(action.help or "").strip()).strip()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_a_command_has_help(command):
    assert not flags_without_help(asked(command))


def parts():
    for command in COMMANDS:
        kind = asked(command)
        for role in kind.roles if isinstance(kind, type) and issubclass(kind, Config) else ():
            yield from (pytest.param(command, role, part.name, id=f"{command} --{role} {part.name}") for part in ROLES[role].parts)


@pytest.mark.parametrize(("command", "role", "name"), list(parts()))
def test_every_keyword_of_a_part_has_help(command, role, name):
    assert not flags_without_help(asked(command, f"--{role}", name))


def test_a_flag_that_says_nothing_is_noticed():
    @dataclass
    class Mute:
        steps: int = 1
        "Steps."
        seed: int = 2

    assert flags_without_help(Mute) == ["['--seed']"]


class TestHelpOfKeywords:
    class Base:
        """A base.

        Args:
            width, depth (int): size of the network, in units
                and layers.
            rate: of the base.
            seed: of the draws.

        Raises:
            ValueError: never.
        """

    class Child(Base):
        """A child.

        Args:
            rate: learning rate :math:`r`, of ``Adam``.
            seed: see :class:`Base`.
        """

    class Learner:
        """A learner of SB3.

        :param gamma: the discount
            factor
        :param n_steps: steps of a rollout
        """

    def test_the_nearest_docstring_in_the_order_of_inheritance_says_it(self):
        assert helps(self.Child) == helps(self.Base) | {"rate": "learning rate r, of Adam."}
        assert helps(self.Base)["depth"] == helps(self.Base)["width"] == "size of the network, in units and layers."

    def test_a_section_behind_the_arguments_is_none_of_them(self):
        assert "ValueError" not in helps(self.Base)

    def test_a_reference_to_a_base_is_not_taken_for_help(self):
        assert helps(self.Child)["seed"] == "of the draws."

    def test_the_fields_of_stable_baselines3_are_read_too(self):
        assert helps(self.Learner).items() >= {"gamma": "the discount factor", "n_steps": "steps of a rollout"}.items()


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("", {}),
        ("--learner sac --reward.form logit", {"form": "logit"}),
        ("--reward.no-absorbing --reward.batch_size=64", {"absorbing": False, "batch_size": 64}),
        ("--reward.form softplus", {"form": "softplus"}),
    ],
)
def test_only_what_is_typed_is_asked_for_so_that_the_task_can_choose_the_rest(words, kept):
    assert parse_run(ImitateConfig, ["--demos", "demos.npz", *words.split()]).reward_kwargs == kept


def test_of_a_flag_that_is_typed_twice_the_last_counts_wholly():
    words = "--learner ppo --learner sac --reward vime --reward=rnd --env.power 1 --env.power 0.2 --env.goal 1 2 --env.goal 3"
    found = parse_run(ExploreConfig, words.split())
    assert (found.learner, found.reward, found.env_kwargs) == ("sac", "rnd", {"power": 0.2, "goal": 3})
    assert "learning_starts" in found.learner_kwargs
    assert found == parse_run(ExploreConfig, ["--learner", "sac", "--reward", "rnd", "--env.power", "0.2", "--env.goal", "3"])
