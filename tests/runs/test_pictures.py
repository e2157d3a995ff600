"""The pictures of a run, drawn from its files."""

import json

import pytest

from genrl.runs import pictures
from genrl.runs.directory import RunDirectory


@pytest.fixture
def curve(tmp_path, monkeypatch):
    """Draws the learning curve of rows of episodes.csv, and of evaluations.csv; returns its axes."""

    def draw(*rows, evaluations=()):
        run, drawn = RunDirectory(tmp_path), []
        run.result.write_text("{}")
        run.episodes.write_text("\n".join([",".join(RunDirectory.EPISODE_COLUMNS), *rows, ""]))
        if evaluations:
            run.evaluations.write_text("\n".join(["step,return", *evaluations, ""]))
        monkeypatch.setattr(pictures, "save_figure", lambda run, name, figure: drawn.append(figure))
        pictures._learning_curve(run, "a task")
        return drawn[0].axes[0]

    return draw


def test_what_a_policy_earns_is_in_the_picture_also_where_each_episode_of_the_training_earns_nothing(curve):
    low, high = curve("100,0,0.0,100,1.0", "200,0,0.0,100,2.0", evaluations=["100,0.0", "200,50.0"]).get_ylim()
    assert low < 0 and high > 50
    assert curve("100,0,3.0,100,1.0", "200,0,3.0,100,2.0", evaluations=["200,3.0"]).get_ylim() == (2, 4)


def test_episodes_that_end_at_one_step_are_one_point_of_the_mean(curve):
    rows = ["100,0,1.0,100,1.0", "100,1,3.0,100,1.0", "200,0,5.0,100,2.0", "200,1,7.0,100,2.0"]  # of two environments
    lines = {line.get_label(): line for line in curve(*rows).lines}
    assert lines["mean of 20"].get_xydata().tolist() == [[100, 2], [200, 4]]
    assert len(lines["episode"].get_xdata()) == 4


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"reward": "vime"}, "ppo + vime"),
        ({"reward": "mine:Own"}, "ppo + Own"),
        ({"reward": "none"}, "ppo alone"),
        ({"reward": "none", "world": "ensemble"}, "ppo + ensemble"),
        ({"reward": "none", "world": "none"}, "ppo alone"),
    ],
)
def test_a_title_says_what_the_learner_has(tmp_path, parts, said):
    run = RunDirectory(tmp_path)
    run.config.write_text(json.dumps({"env": "CartPole-v1", "learner": "ppo", "seed": 3, **parts}))
    assert pictures._title(run, "reward") == f"CartPole-v1\n{said}, seed 3"
