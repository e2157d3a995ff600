"""Every line that genrl prints to be typed next does run as it is printed, read by a shell, from a folder with an awkward name.

The tests add smaller settings behind a line, and put a file where it says FILE or FOLDER; they change nothing in it.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from genrl.cli import COMMANDS, main
from genrl.errors import RunError
from tests.runs.hub import hub

ROOT = Path(__file__).parents[2]
FOLDER = 'it\'s "my" $HOME täsk; 雪'
MODULE = '''
import gymnasium
import numpy as np
from gymnasium import spaces
from tests.runs.tiny import Surprise


class Walk(gymnasium.Env):
    """Walk on a line for 20 steps, or look at it as a picture of one moving column."""

    metadata = {"render_modes": ["rgb_array"]}
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    state_names = ("place",)

    def __init__(self, speed=0.5, picture=False, names=("a b", "c"), map_file="", paid=False, render_mode=None):
        assert tuple(names) == ("a b", "c") and map_file in ("", "no 'map' here")
        self.speed, self.picture, self.paid, self.render_mode = speed, picture, paid, render_mode
        self.observation_space = spaces.Box(0, 255, (16, 16, 3), np.uint8) if picture else spaces.Box(-99, 99, (1,), np.float32)

    def _seen(self):
        return self.render() if self.picture else np.array([self.place], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = float(self.np_random.uniform(-1, 1)), 0
        return self._seen(), {"state": np.array([self.place], np.float32)}

    def step(self, action):
        self.place = float(np.clip(self.place + self.speed * float(action[0]), -9, 9))
        self.steps += 1
        reward = float(self.place > 1) if self.paid else -abs(self.place)
        return self._seen(), reward, False, self.steps == 20, {"state": np.array([self.place], np.float32)}

    def render(self):
        picture = np.zeros((16, 16, 3), np.uint8)
        picture[:, int(np.clip((self.place + 9) / 18 * 15, 0, 15))] = 255
        return picture


gymnasium.register("tests/Walk-v0", entry_point=Walk)
gymnasium.register("tests/Stroll-v0", entry_point=Walk)
'''
SMALL = "--learner ppo --learner.n-steps 64 --learner.batch-size 32 --learner.n-epochs 1 --steps 64 --eval-episodes 1 --no-pictures"
WALK = ["--env", "printed_walk:tests/Walk-v0", "--env.speed", "0.25", "--env.names", "a b", "c"]
MAP = ["--env.map-file", "no 'map' here"]
TINY_MODEL = "--model.latent 4 --model.hidden 16 --epochs 1 --batch-size 16 --judge-images 0"
STUDY = """
study.seeds = 2
run = { steps = 64, learner = "ppo", eval_episodes = 1, learner_kwargs = { n_steps = 64, batch_size = 32, net_arch = [8] } }
tasks.walk.env = "printed_walk:tests/Walk-v0"
methods.none.reward = "none"
methods.own.reward = "printed_walk:Surprise"
"""
SEARCH = """
tune.trials = 2
run = { env = "printed_walk:tests/Walk-v0", reward = "printed_walk:Surprise", steps = 64, learner = "ppo", eval_episodes = 1 }
search.learner_kwargs = { gamma = [0.9, 0.95], n_steps = [64], batch_size = [32] }
search.reward_kwargs.rate = [0.25]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which everything is typed, with a module of one's own, a study and a few images."""
    place = tmp_path / FOLDER
    place.mkdir()
    monkeypatch.chdir(place)
    Path("printed_walk.py").write_text(MODULE)
    Path("my study.toml").write_text(STUDY)
    np.savez("my images.npz", images=np.random.default_rng(0).integers(0, 256, (64, 8, 8), dtype=np.uint8))
    return place


def words(line: str) -> list[str]:
    """What a shell makes of a line."""
    script = f"genrl() {{ printf '%s\\0' \"$@\"; }}\n{line}\n"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


def typed(line: str, *smaller: str) -> int:
    """Run a printed line, which begins with `genrl`."""
    assert line.startswith("genrl "), line
    return main([*words(line), *(word for part in smaller for word in shlex.split(part))])


def last(capsys: pytest.CaptureFixture[str], before: str, on: str = "out") -> str:
    """The line behind ``before`` in what was printed."""
    found = re.findall(rf"{re.escape(before)}:? `?(genrl .*?)(?:`.*)?$", getattr(capsys.readouterr(), on), flags=re.M)
    assert found, before
    return str(found[-1])


def advised(error: RunError) -> str:
    """The line in a refusal."""
    return re.findall(r"`?(genrl [a-z]+ [^`]*)", str(error))[-1]


def walk(out: str, *more: str) -> int:
    return main(["explore", *WALK, *more, "--reward", "printed_walk:Surprise", "--out", out, *shlex.split(SMALL)])


def test_after_exploring_with_a_task_and_reward_of_ones_own(capsys):
    assert walk("my run", *MAP) == 0
    assert typed(last(capsys, "watch it"), "--steps 3") == 0
    assert (Path("my run") / "watch.mp4").is_file()
    assert main(["resume", "my run", "--imports", "printed_walk", "no 'map' here"]) == 2
    again = last(capsys, "go further with", "err")
    assert again.endswith("--imports printed_walk 'no '\"'\"'map'\"'\"' here'")
    assert typed(again) == 0
    assert json.loads((Path("my run") / "result.json").read_text())["steps"] == 128


def test_after_exploring_with_evaluations_on_the_way(capsys):
    assert walk("my run", "--eval-every", "32") == 0
    assert typed(last(capsys, "watch the best model"), "--steps 3") == 0
    assert (Path("my run") / "watch-best.mp4").is_file()


def test_where_there_is_a_run_already(capsys):
    assert walk("my run") == 0
    assert walk("my run") == 2
    again = last(capsys, "go on with it by", "err")
    assert typed(again, "--steps 128") == 0


def test_after_an_interrupt(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("genrl.runs.training._about", lambda: os.kill(os.getpid(), signal.SIGINT) or {})
        assert walk("./-my run") == 130
    assert typed(last(capsys, "go on with", "err")) == 0
    assert json.loads(Path("-my run/result.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("use", ["watch", "record", "load", "frames"])
def test_where_a_run_has_no_model_yet(use):
    import genrl
    from genrl.generation.frames import record_frames
    from genrl.runs import record, watch

    uses = {
        "watch": lambda: watch("my run", imports=["printed_walk"]),
        "record": lambda: record("my run", "x.npz", imports=["printed_walk"]),
        "load": lambda: genrl.load("my run", imports=["printed_walk"]),
        "frames": lambda: record_frames("printed_walk:tests/Walk-v0", 20, policy="my run", imports=["printed_walk"]),
    }
    assert walk("my run") == 0
    for name in ("model.zip", "checkpoint.safetensors", "result.json"):
        (Path("my run") / name).unlink()
    Path("my run/episodes.csv").write_text("step,env,return,length,seconds\n")
    with pytest.raises(RunError, match="has no model") as refused:
        uses[use]()
    assert typed(advised(refused.value)) == 0
    assert Path("my run/model.zip").is_file()


@pytest.mark.parametrize("out", ["my walks.hdf5", "my walks.npz", "walks/expert-v0"])
def test_after_recording_a_task_of_ones_own(capsys, out):
    assert walk("my run", *MAP) == 0
    assert main(["record", "--run", "my run", "--out", out, "--episodes", "2", "--imports", "printed_walk", MAP[1]]) == 0
    line = last(capsys, "imitate it")
    assert "--env printed_walk:tests/Walk-v0" in line
    assert typed(line, SMALL, "--n-envs 1 --clone 1 --critic-warmup 0 --average 1 --out imitated") == 0
    assert typed(last(capsys, "watch the last policies' mean"), "--steps 3") == 0
    assert json.loads(Path("imitated/config.json").read_text())["env_kwargs"] == {
        "speed": 0.25, "names": ["a b", "c"], "map_file": MAP[1]
    }  # fmt: skip
    Path(out).rename("moved")
    assert main(["resume", "imitated", "--steps", "128", "--imports", "printed_walk", MAP[1]]) == 2
    moved = last(capsys, "say where they are now", "err")
    Path("moved").rename("FILE" if "." not in out else f"FILE{Path(out).suffix}")
    there = next(Path().glob("FILE*"))
    assert typed(moved.replace("FILE", str(there)), "--steps 128") == 0


def test_where_demonstrations_are_missing(capsys):
    assert main(["imitate", "--demos", "my demos.npz"]) == 2
    line = last(capsys, "make some with", "err")
    assert walk("my run") == 0
    assert typed(line.replace("RUN", "'my run'"), "--episodes 8 --imports printed_walk") == 0
    assert Path("my demos.npz").is_file()
    for reward in ("gail", "sqil"):
        assert main(["explore", *WALK, "--reward", reward, *shlex.split(SMALL)]) == 2
        line = last(capsys, "type", "err")
        small = SMALL.replace("--learner ppo", "").replace("--learner.n-steps 64", "").replace("--learner.n-epochs 1", "")
        given = small if "--learner" in line else SMALL
        own = [] if "--env" in line else WALK
        assert typed(line.replace("FILE", "'my demos.npz'"), given, shlex.join(own), f"--n-envs 1 --out {reward}") == 0


def test_after_generating(capsys):
    data = ["--data", "my images.npz"]
    assert main(["generate", *data, *shlex.split(TINY_MODEL), "--out", "my model"]) == 0
    assert typed(last(capsys, "train longer")) == 0
    assert main(["resume", "my model"]) == 2
    assert typed(last(capsys, "go further with", "err")) == 0
    assert main(["generate", *data, "--model", "naive-bayes", "--judge-images", "0", "--out", "counted"]) == 0
    assert typed(last(capsys, "do better"), TINY_MODEL, "--out better") == 0


def test_after_generating_from_a_task_that_observes_images(capsys):
    task = ["--data", "frames:printed_walk:tests/Walk-v0", "--env.picture", "True", *WALK[2:]]
    small = ["--frames", "100", "--model.hidden", "16", "--model.latent", "2", "--epochs", "1", "--judge-images", "0"]
    assert main(["generate", "--model", "vae", *task, *small, "--out", "my eyes"]) == 0
    line = last(capsys, "learn through its eyes")
    assert typed(line, "--steps 120 --learner.learning-starts 50 --eval-episodes 1 --no-pictures --out seen") == 0
    assert json.loads(Path("seen/result.json").read_text())["learner"] == "sac"
    assert main(["generate", "--model", "vae", "--data", task[1], *WALK[2:], *small, "--out", "blind"]) == 0
    assert "train longer" in capsys.readouterr().out  # its task observes no image


def test_where_an_encoder_is_missing_or_not_measured_yet(capsys):
    explore = ["explore", *WALK, "--env.picture", "True", "--encoder", "my eyes", "--reward", "none", *shlex.split(SMALL), "--out", "seen"]
    assert main(explore) == 2
    line = last(capsys, "fit one with", "err").replace("TASK", "printed_walk:tests/Walk-v0")
    jepa = "--env.picture True --frames 100 --epochs 1 --judge-images 0 --no-pictures --model.latent 4 --model.hidden 8"
    assert typed(line, re.sub(r"--model\.\S+ \S+", "", jepa)) == 0
    Path("my eyes/encoder.safetensors").unlink()
    result = json.loads(Path("my eyes/result.json").read_text()) | {"judging_error": "it is not measured yet"}
    Path("my eyes/result.json").write_text(json.dumps(result))
    capsys.readouterr()
    assert main(explore) == 2
    assert typed(last(capsys, "let it finish with", "err")) == 0
    assert main(explore) == 0


def test_where_an_encoder_was_fitted_to_another_task(capsys):
    small = ["--env.picture", "True", *WALK[2:], "--frames", "60", "--judge-images", "0", "--model.latent", "4"]
    assert main(["generate", "--model", "pca", "--data", "frames:printed_walk:tests/Stroll-v0", *small, "--out", "my eyes"]) == 0
    explore = ["explore", *WALK, "--env.picture", "True", "--encoder", "my eyes", "--reward", "none", *shlex.split(SMALL), "--out", "seen"]
    assert main(explore) == 0
    assert typed(last(capsys, "if that is not meant, type", "err"), shlex.join(small)) == 0
    assert Path("my eyes-of-this-task/encoder.safetensors").is_file()


def test_what_a_model_can_do_instead(capsys):
    assert main(["generate", "--data", "my images.npz", *shlex.split(TINY_MODEL), "--out", "my model"]) == 0
    assert main(["complete", "my model", "--images", "my images.npz", "--how", "inpaint"]) == 2
    line = last(capsys, "it can reconstruct, interpolate", "err")
    assert typed(line.replace("FOLDER", "'my images.npz'")) == 0
    small = "--model conditional-vae --data 'my images.npz' --given hole --epochs 1 --batch-size 16 --judge-images 0 --no-pictures"
    assert main(["generate", *shlex.split(small), "--model.latent", "2", "--model.hidden", "8", "--out", "holes"]) == 0
    assert main(["sample", "holes"]) == 2
    line = last(capsys, "it can inpaint", "err")
    assert typed(line.replace("FOLDER", "'my images.npz'")) == 0


def test_where_a_run_is_of_the_other_kind(capsys):
    assert main(["explore", "--env", "genrl/SparseMountainCar-v0", "--reward", "none", *shlex.split(SMALL), "--out", "my run"]) == 0
    assert main(["sample", "my run"]) == 2
    assert typed(last(capsys, "film it with", "err"), "--steps 2") == 0


def test_after_screening(capsys):
    assert main(["screen", *WALK, *MAP, "--steps", "60", "--noises", "white", "held-8"]) == 0
    line = last(capsys, "try a bonus")
    assert typed(line, SMALL, "--out explored") == 0
    assert json.loads(Path("explored/config.json").read_text())["env_kwargs"]["names"] == ["a b", "c"]


def test_after_an_archive_has_found_a_reward(capsys):
    found = ["--env.paid", "True", "--archive", "my places.npz", "--steps", "400", "--noises", "held-8"]
    assert main(["screen", *WALK, *MAP, *found]) == 0
    line = last(capsys, "a policy from its episodes")
    assert typed(line, SMALL, "--n-envs 1 --clone 1 --critic-warmup 0 --out imitated") == 0
    kwargs = json.loads(Path("imitated/config.json").read_text())["env_kwargs"]
    assert kwargs == {"speed": 0.25, "names": ["a b", "c"], "map_file": "no 'map' here", "paid": True}  # it had lost all but the typed one


def test_where_recorded_steps_are_missing_or_have_no_rewards(capsys):
    dream = ["dream", *WALK, "--demos", "my steps.npz", "--steps", "64", "--out", "dreamed"]
    assert main(dream) == 2
    line = last(capsys, "make some with", "err")
    assert walk("my run") == 0
    assert typed(line.replace("RUN", "'my run'"), "--episodes 12 --imports printed_walk") == 0
    with np.load("my steps.npz") as file:
        kept = {name: file[name] for name in file.files}
    np.savez("my steps.npz", **kept | {name: np.zeros_like(kept[name]) for name in kept if "reward" in name})
    capsys.readouterr()
    assert main(dream) == 2
    line = last(capsys, "imitate it instead", "err")
    assert typed(line, shlex.join(WALK[2:]), SMALL, "--n-envs 1 --clone 1 --critic-warmup 0 --out imitated") == 0


def test_after_an_interrupted_study_and_from_its_page(capsys, monkeypatch):
    begin = ["study", "my study.toml", "--out", "my runs", "--workers", "1", "--executor", "here", "--imports", "printed_walk"]

    def interrupted(study, executor, **_):
        from genrl.studies.directory import open_directory

        open_directory(study)
        return False

    with monkeypatch.context() as patch:
        patch.setattr("genrl.studies.running.run_study", interrupted)
        assert main(begin) == 130
        again = last(capsys, "go on with", "err")
        assert words(again) == [begin[0], begin[1], "--out", "my runs", "--executor", "here", "--workers", "1", "--imports", "printed_walk"]
        assert main(["report", "my runs"]) == 0
    page = unescape(re.sub(r"<[^>]*>", "", Path("my runs/report.html").read_text()))
    line = re.findall(r"4 of 4 runs are not finished yet;.* Go on, if you trust printed_walk, with (genrl .*)", page)[0]
    assert typed(line, "--executor here") == 0
    assert typed(last(capsys, "see it")) == 0
    assert typed(again) == 0


def test_failed_cells_are_tried_again(capsys):
    text = STUDY.replace('methods.own.reward = "printed_walk:Surprise"', 'methods.own = { env_kwargs = { what = "error", at = 20 } }')
    text = text.replace("printed_walk:tests/Walk-v0", "tests.runs.tiny:tests/Breaks-v0").replace("seeds = 2", "seeds = 1\nstudy.tries = 1")
    Path("my study.toml").write_text(text)
    assert main(["study", "my study.toml", "--executor", "here", "--imports", "tests.runs.tiny"]) == 1
    line = last(capsys, "try them again with", "err")
    assert typed(line) == 1
    assert main(["report", "runs/my study"]) == 0
    page = unescape(re.sub(r"<[^>]*>", "", Path("runs/my study/report.html").read_text()))
    line = re.findall(r"Try again, if you trust tests.runs.tiny, with (genrl .*)", page)[0]
    assert typed(line, "--executor here") == 1


def test_after_a_search(capsys, monkeypatch):
    Path("my search.toml").write_text(SEARCH)
    begin = ["tune", "my search.toml", "--executor", "here", "--imports", "printed_walk"]
    with monkeypatch.context() as patch:
        patch.setattr("genrl.studies.tuning.tune", lambda *args, **kwargs: None)
        assert main(begin) == 130
    again = last(capsys, "go on with", "err")
    assert sorted(words(again)) == sorted(begin)
    assert typed(again) == 0
    printed = capsys.readouterr().out
    lines = [re.findall(rf"{before}: (genrl .*)", printed)[0] for before in ("see every trial", "with other seeds", "with all that is set")]
    assert typed(lines[0]) == 0
    assert typed(lines[1], "--imports printed_walk" if "--config" in lines[1] and "--imports" not in lines[1] else "", "--out by-file") == 0
    assert typed(lines[2], "--out by-flags") == 0
    kept = [json.loads(Path(out, "config.json").read_text()) for out in ("by-file", "by-flags")]
    assert kept[0]["learner_kwargs"] == kept[1]["learner_kwargs"] and kept[0]["reward_kwargs"] == {"rate": 0.25}


def test_after_sending_and_fetching_a_run(capsys, monkeypatch, folder):
    with hub(folder / "hub", monkeypatch):
        assert walk("my run") == 0
        assert main(["push", "my run", "me/own", "--imports", "printed_walk"]) == 0
        assert typed(last(capsys, "make one, and push again"), "--steps 3") == 0
        plain = ["explore", "--env", "genrl/SparseMountainCar-v0", "--reward", "none", *shlex.split(SMALL), "--out", "car"]
        assert main(plain) == 0
        for run in ("car", "my model"):
            if run == "my model":
                assert main(["generate", "--data", "my images.npz", *shlex.split(TINY_MODEL), "--out", run]) == 0
            assert main(["push", run, f"me/{run.replace(' ', '-')}"]) == 0
            assert main(["pull", f"me/{run.replace(' ', '-')}", "--out", f"fetched {run}"]) == 0
            before = "watch it" if run == "car" else "draw images"
            assert typed(last(capsys, before), "--steps 3" if run == "car" else "--n 4") == 0
        card = (folder / "hub/me/car/README.md").read_text()
        for line in re.findall(r"^genrl .*", card, flags=re.M):
            assert typed(line, "--steps 3" if " watch " in line else "") == 0
        (folder / "pca").mkdir()
        assert (
            main(["generate", "--model", "pca", "--data", "my images.npz", "--model.latent", "4", "--judge-images", "0", "--out", "pca"])
            == 0
        )
        assert main(["push", "pca", "me/pca"]) == 0
        assert "genrl sample" not in (folder / "hub/me/pca/README.md").read_text()  # which draws nothing by itself


PLACES = {
    "cli/_ending.py": 7,
    "cli/pull.py": 1,
    "cli/push.py": 1,
    "cli/record.py": 1,
    "cli/screen.py": 2,
    "cli/study.py": 2,
    "cli/tune.py": 5,
    "encoders/encoder.py": 2,
    "generation/running.py": 1,
    "generation/uses.py": 3,
    "runs/config/run.py": 1,
    "runs/directory.py": 1,
    "runs/vision.py": 1,
    "runs/imitation/demonstrations.py": 1,
    "runs/uses/load.py": 1,
    "runs/dreams/offline.py": 1,
    "runs/opening.py": 1,
    "runs/uses/hub.py": 2,
    "runs/sockets.py": 2,
    "runs/checkpoint.py": 1,
    "runs/training.py": 1,
    "studies/report.py": 2,
    "studies/summary.py": 1,
}
"""How often each file makes a line to be typed; whoever adds one adds what runs it to this file."""


def test_every_place_that_prints_a_line_is_run_here():
    found = {}
    for file in (ROOT / "genrl").rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        names = [call.id if isinstance(call, ast.Name) else call.attr if isinstance(call, ast.Attribute) else "" for call in calls]
        if count := names.count("command") + names.count("typed"):
            found[file.relative_to(ROOT / "genrl").as_posix()] = count
    assert found == PLACES


def test_no_line_is_put_together_in_another_way():
    """A path in a line that is not quoted breaks at its first space."""
    for file in (ROOT / "genrl").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                for before, behind in zip(node.values, node.values[1:], strict=False):
                    text = before.value if isinstance(before, ast.Constant) else ""
                    line = re.search(rf"genrl ({'|'.join(COMMANDS)}) (?:[^`;]* )?$", str(text))
                    assert not (line and isinstance(behind, ast.FormattedValue)), f"{file}: {text}"
