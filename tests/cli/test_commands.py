import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import warnings

import pytest

from genrl.cli import COMMANDS, main
from genrl.cli._ending import _rows
from genrl.cli._flags import parse_run
from genrl.errors import RunError
from genrl.runs import ExploreConfig

TINY = "explore --env CartPole-v1 --learner ppo --reward tests.runs.tiny:Surprise --steps 128 --learner.n-steps 64 --learner.batch-size 32"


def cpu_seconds(*arguments: str) -> tuple[float, str]:
    """Of the processor, for a new Python: on a machine that does other things as well, wall time says nothing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


@pytest.mark.parametrize("words", [[], *([command, "--help"] for command in COMMANDS)], ids=" ".join)
def test_help_takes_no_longer_than_its_libraries(words):
    """Gymnasium and tyro are the measure, in the same moment of a machine whose pace changes; torch would be several times as much."""
    code = "import sys\nfrom genrl.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'gymnasium'} & set(sys.modules)"
    ratios = []
    while len(ratios) < 15 and not (ratios and min(ratios) < 1.2):
        seconds, text = cpu_seconds(code, *words)
        assert "usage: genrl" in text
        ratios.append(seconds / cpu_seconds("import gymnasium, tyro")[0])
    assert min(ratios) < 1.2


def test_help_of_a_learner_and_a_reward_lists_their_hyperparameters(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["explore", "--learner", "trpo", "--reward", "vime", "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "--learner.cg-damping FLOAT" in text
    assert "damping in the Hessian vector product computation" in text
    assert "--reward.step-size FLOAT" in text


def test_flags_become_the_configuration():
    words = """--env Hopper-v5 --env.healthy-reward 0 --env.forward_reward_weight=2 --learner SAC --learner.train-freq 2 episode
        --learner.net-arch 64 64 --learner.ent-coef 0.1 --learner.use-sde --reward none --coverage 0 x_position --n-envs 4"""
    config = parse_run(ExploreConfig, shlex.split(words))
    assert config.env_kwargs == {"healthy_reward": 0, "forward_reward_weight": 2}
    assert config.learner_kwargs["train_freq"] == (2, "episode")
    assert config.learner_kwargs["net_arch"] == (64, 64)
    assert config.learner_kwargs["ent_coef"] == 0.1
    assert config.learner_kwargs["use_sde"] is True
    assert config.learner_kwargs["gamma"] == 0.99
    assert config.reward_kwargs == {}
    assert (config.coverage, config.n_envs) == (("0", "x_position"), 4)
    assert str(config.directory) == "runs/Hopper-v5-sac-none-seed0"


def test_explore_resume_watch(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main([*TINY.split(), "--reward.rate", "0.25", "--eval-episodes", "1", "--no-pictures", "--out", out]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == f"watch it: genrl watch {out} --imports tests.runs.tiny"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["reward_kwargs"] == {"rate": 0.25}
    assert main(["resume", out, "--steps", "192", "--imports", "tests.runs.tiny"]) == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 192


def test_an_interrupt_before_the_first_step_leaves_a_run_that_goes_on(tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("genrl.runs.training._about", lambda: os.kill(os.getpid(), signal.SIGINT) or {})
        assert main([*TINY.split(), "--no-pictures", "--eval-episodes", "0", "--out", str(out)]) == 130
    assert "\ninterrupted at step 0; go on with: genrl resume" in capsys.readouterr().err
    assert main(["resume", str(out), "--imports", "tests.runs.tiny"]) == 0


def test_an_interrupt_before_anything_is_written_leaves_nothing(tmp_path, capsys, monkeypatch):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("genrl.runs.training.build", interrupted)
    assert main([*TINY.split(), "--out", str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err == "genrl: interrupted\n"
    assert not (tmp_path / "run").exists()


def test_a_run_of_cloning_alone_has_no_numbers_of_exploration():
    nothing = dict.fromkeys(("first_reward_step", "steps_per_second", "training_return", "bonus_mean", "coverage"))
    done = {"steps": 0, "seconds": 3, "episodes": 0, "evaluation_return": 5.0, "evaluation_returns": [5.0]}
    assert _rows(nothing | done) == [
        ("training", "cloning alone, no steps, 3 s"),
        ("evaluation return", "5 (1 deterministic episode)"),
    ]
    assert "first reward" in dict(_rows(nothing | done | {"steps": 1}))


def test_an_imitation_tells_the_smallest_and_largest_episode_and_no_first_reward():
    nothing = dict.fromkeys(("first_reward_step", "training_return", "bonus_mean", "coverage"))
    known = {"expert_return": 9.0, "episodes": 1, "pairs": 50, "cloned_return": 2.0, "cloning": {"epochs": 4.0}}
    done = {"steps": 100, "seconds": 8, "steps_per_second": 20.0, "episodes": 0, "evaluation_return": 5.0, "evaluation_returns": [1.0, 9.0]}
    rows = dict(_rows(nothing | done | {"imitation": known, "averaged_return": 6.0, "averaged_returns": [5.0, 7.0]}))
    assert "first reward" not in rows
    assert rows["steps"] == "100 in 8 s, cloning included (20 steps/s)"
    assert rows["evaluation return"] == "5 (2 deterministic episodes, 1 to 9)"
    assert rows["the last policies' mean"] == "6 (2 deterministic episodes, 5 to 7)"
    silent = dict(_rows(nothing | done | {"imitation": known | {"expert_return": None, "cloned_return": 1234.5}}))
    assert silent["the expert's"] == "unknown (1 episode, 50 pairs)"
    assert silent["after cloning alone"].startswith("1,23")
    once = dict(_rows(nothing | done | {"imitation": known | {"pairs": 1, "cloning": {"epochs": 1.0}}}))
    assert (once["the expert's"], once["after cloning alone"]) == ("9 (1 episode, 1 pair)", "2 (1 epoch)")


def test_a_failed_evaluation_says_how_to_do_it_again(tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("genrl.runs.result.evaluate", lambda session, interrupt: [1.0])  # one episode, then Ctrl-C
        assert main([*TINY.split(), "--no-pictures", "--eval-episodes", "2", "--out", str(out)]) == 130
    again = f"genrl resume {out} --imports tests.runs.tiny"
    reason = "the evaluation was interrupted after 1 of 2 episodes; the training is saved, do the rest with"
    assert capsys.readouterr().err.splitlines()[-1] == f"genrl: {reason}: {again}"
    assert main(shlex.split(again)[1:]) == 0
    assert len(json.loads((out / "result.json").read_text())["evaluation_returns"]) == 2


def test_a_failed_run_says_why_and_exits_with_1(tmp_path, capsys):
    words = f"{TINY.replace('CartPole-v1', 'tests.runs.tiny:tests/Breaks-v0')} --no-pictures --out {tmp_path / 'run'}"
    assert main(words.split()) == 1
    err = capsys.readouterr().err
    assert "reward of nan at step 100" in err
    assert err.endswith(f"the last good model is {tmp_path / 'run'}/model.zip\n")


def test_a_file_in_the_current_folder_is_taken_for_no_library(tmp_path):
    for name in ("torch", "tyro", "gymnasium", "rich"):
        (tmp_path / f"{name}.py").write_text("from pathlib import Path\nPath('it_ran').touch()\nraise SystemExit(77)\n")
    for words in (["watch", "--help"], ["watch", "."], ["explore", "--learner", "ppo", "--reward", "none", "--help"]):
        done = subprocess.run([sys.executable, "-m", "genrl", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == (2 if words[1] == "." else 0), done.stderr
    assert not (tmp_path / "it_ran").exists()


def test_a_module_of_the_current_folder_is_found_when_it_is_asked_for(tmp_path):
    (tmp_path / "mine.py").write_text("from genrl.rewards import RND\n\nclass Mine(RND):\n    pass\n")
    words = [sys.executable, "-m", "genrl", "explore", "--learner", "ppo", "--reward", "mine:Mine", "--help"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--reward.learning-rate" in done.stdout


@pytest.mark.parametrize("word", ["300", "3e2", "0.3E3"])
def test_a_whole_number_may_have_an_exponent(word):
    asked = parse_run(ExploreConfig, ["--learner", "ppo", "--steps", word, "--learner.n-steps", word])
    assert (asked.steps, asked.learner_kwargs["n_steps"]) == (300, 300)


@pytest.mark.parametrize("word", ["2.5", "1.5e0", "1e400", "e5"])
def test_what_is_no_whole_number_is_refused(word):
    with pytest.raises(RunError, match="--steps needs a value of the form INT"):
        parse_run(ExploreConfig, ["--steps", word])


def test_a_warning_of_gymnasium_loses_its_colour_and_nothing_else_that_a_terminal_obeys(capsys, monkeypatch):
    monkeypatch.setattr(
        "genrl.cli._command", lambda name: lambda words: warnings.warn("\x1b[33mWARN: too \x1b[2Jlarge\x1b[0m", stacklevel=1) or 0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["list"]) == 0
    assert capsys.readouterr().err == "genrl: warning: too \\x1b[2Jlarge\n"
