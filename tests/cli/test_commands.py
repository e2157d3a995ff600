import json
import os
import resource
import shlex
import signal
import subprocess
import sys

import pytest

from genrl.cli import main
from genrl.cli._flags import parse_run
from genrl.runs import ExploreConfig

TINY = "explore --env CartPole-v1 --learner ppo --reward tests.runs.tiny:Surprise --steps 128 --learner.n-steps 64 --learner.batch-size 32"


def cpu_seconds(*arguments: str) -> tuple[float, str]:
    """Of the processor, for a new Python: on a machine that does other things as well, wall time says nothing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


@pytest.mark.parametrize("words", [[], ["--help"], ["explore", "--help"], ["generate", "--help"]])
def test_help_takes_little_more_than_its_libraries_and_no_torch(words):
    """About as long as importing gymnasium and tyro, of which torch would be several times as much."""
    code = "import sys\nfrom genrl.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    helps, libraries = [], []
    for _ in range(3):
        seconds, text = cpu_seconds(code, *words)
        assert "usage: genrl" in text
        helps.append(seconds)
        libraries.append(cpu_seconds("import gymnasium, tyro")[0])
    assert min(helps) < max(0.5, 2 * min(libraries))  # on a machine on which these alone take a quarter of a second, half of one


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
    assert capsys.readouterr().err.startswith("interrupted at step 0; go on with: genrl resume")
    assert main(["resume", str(out), "--imports", "tests.runs.tiny"]) == 0


def test_an_interrupt_before_anything_is_written_leaves_nothing(tmp_path, capsys, monkeypatch):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("genrl.runs.training.build", interrupted)
    assert main([*TINY.split(), "--out", str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err == "genrl: interrupted\n"
    assert not (tmp_path / "run").exists()


def test_a_failed_evaluation_says_how_to_do_it_again(tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("genrl.runs.result.evaluate", lambda session, seed, interrupt: [1.0])  # one episode, then Ctrl-C
        assert main([*TINY.split(), "--no-pictures", "--eval-episodes", "2", "--out", str(out)]) == 1
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
