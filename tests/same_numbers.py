"""Whether two versions of genrl compute the same numbers, bit for bit: short runs of everything that learns, reduced to checksums.

Not a test of pytest, but a command for a restructuring that must change nothing:

    python tests/same_numbers.py before.json            # on the old tree: about three minutes on one core
    python tests/same_numbers.py after.json             # on the new tree, on the same machine
    python tests/same_numbers.py --compare before.json after.json

Each tree is run by a Python that has it installed, since its tasks (genrl_envs) come from there. The script knows genrl by its command
and by what its sockets export, so that both trees run it unchanged; where a flag gets another name, RUNS below is the only place to adapt.
Each run has a folder and processes of its own, so `--only NAME` gives the numbers that the whole gives; `--compare` takes it too.

What is compared, file by file of a run: tensors of weights, checkpoints and arrays, the columns of the logs, and the numbers of every
result. What is not: clocks, memory, words, paths, and the names of tensors, which a restructuring may change.
A run that ends with an error, or says one in its result, has failed and is never the same.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]

# --- the command lines: every flag of genrl that this file knows ---

ON = "--learner.n-steps 128 --learner.net-arch 16"
OFF = "--learner.learning-starts 100 --learner.batch-size 32 --learner.buffer-size 2000 --learner.net-arch 16"
PLAIN = "--no-pictures --eval-episodes 2"
PENDULUM = f"explore --out run --env Pendulum-v1 --weight 0.1 --update-every 200 {PLAIN}"
CAR = f"explore --out run --env genrl/SparseMountainCar-v0 --weight 0.1 --update-every 200 {PLAIN}"
CARTPOLE = f"explore --out run --env CartPole-v1 --weight 0.1 --update-every 200 {PLAIN}"
IMITATE = f"imitate --out run --demos ../pendulum.npz --update-every 100 --reward.updates 10 {PLAIN}"
COPY = f"imitate --out run --demos ../cartpole.npz --clone 10 --steps 0 {PLAIN}"
WARM = "--clone 5 --critic-warmup 256 --n-envs 2"
GENERATE = "generate --out run --data ../grey.npz --no-pictures --judge-images 32 --epochs 2 --batch-size 32"
SLOWLY = GENERATE.replace("--epochs 2", "--epochs 1")
BOUND = "--judge-samples 5"

RUNS: dict[str, list[str]] = {
    # exploration
    "none, ppo": [f"{PENDULUM} --learner ppo --reward none --steps 512 {ON}"],
    "vime, trpo": [f"{CAR} --learner trpo --reward vime --reward.min-transitions 200 --steps 768 {ON}"],
    "vime released, ppo": [
        f"{PENDULUM} --learner ppo --reward vime --reward.preset released --reward.min-transitions 200 --steps 512 {ON}"
    ],
    "vime, sac": [f"{PENDULUM} --learner sac --reward vime --reward.min-transitions 200 --reward.n-updates 20 --steps 600 {OFF}"],
    "vime, subproc": [f"{PENDULUM} --learner a2c --reward vime --reward.min-transitions 100 --n-envs 2 --subproc --steps 400 --threads 1"],
    "rnd, recurrentppo": [f"{PENDULUM} --learner recurrentppo --reward rnd --steps 256 {ON}"],
    "rnd, normalized": [f"{PENDULUM} --learner ppo --reward rnd --n-envs 2 --normalize-obs --normalize-reward --steps 768 {ON}"],
    "rnd, sac normalized": [f"{PENDULUM} --learner sac --reward rnd --normalize-obs --normalize-reward --steps 400 {OFF}"],
    "icm, dqn": [f"{CARTPOLE} --learner dqn --reward icm --steps 800 {OFF}"],
    "icm, ppo": [f"{PENDULUM} --learner ppo --reward icm --steps 512 {ON}"],
    "disagreement, td3": [f"{PENDULUM} --learner td3 --learner.action-noise 0.1 --reward disagreement --steps 500 {OFF}"],
    "prediction-error, a2c": [f"{CARTPOLE} --learner a2c --reward prediction-error --n-envs 2 --steps 600"],
    "state-entropy, tqc": [f"{PENDULUM} --learner tqc --reward state-entropy --steps 400 {OFF}"],
    "counts, qrdqn": [f"{CARTPOLE} --learner qrdqn --reward counts --steps 600 {OFF}"],
    "held noise, ppo": [f"{PENDULUM} --learner ppo --reward none --noise held-8 --steps 512 {ON}"],
    "held noise, sac": [f"{PENDULUM} --learner sac --reward none --noise held-8 --noise-std 0.3 --steps 400 {OFF}"],
    "pictures": [f"{CAR} --learner ppo --reward counts --steps 768 {ON} --pictures"],
    # what follows a run
    "resumed, ppo": [
        f"{PENDULUM} --learner ppo --reward vime --reward.min-transitions 100 --normalize-obs --noise held-8 --steps 384 {ON}",
        "resume run --steps 768",
    ],
    "resumed, sac": [f"{PENDULUM} --learner sac --reward icm --steps 300 {OFF}", "resume run --steps 500"],
    "recorded": [
        f"{CARTPOLE} --learner ppo --reward none --steps 256 {ON}",
        "record --run run --out demos.npz --episodes 3 --stochastic",
        f"imitate --out imitated --demos demos.npz --learner dqn --reward gail --reward.updates 10 --steps 400 {OFF} {PLAIN}",
    ],
    "study": ["study ../study.toml --out study --executor here"],
    # imitation
    "gail, ppo": [f"{IMITATE} --reward gail --learner ppo --steps 768 {WARM} {ON}"],
    "gail, trpo": [f"{IMITATE} --reward gail --reward.form log-d --learner trpo --clone 0 --n-envs 2 --steps 512 {ON}"],
    "gaifo, sac": [f"{IMITATE} --reward gaifo --learner sac --steps 400 {OFF}"],
    "airl, ppo": [f"{IMITATE} --reward airl --learner ppo --steps 512 {WARM} {ON}"],
    "vail, td3": [f"{IMITATE} --reward vail --learner td3 --steps 400 {OFF}"],
    "sqil, sac": [f"{IMITATE.replace('--reward.updates 10', '')} --reward sqil --learner sac --steps 400 {OFF}"],
    "cloned, cartpole": [f"{COPY} --learner ppo"],
    "cloned, several learners": ["here cloning"],
    "dagger": ["here dagger"],
    # images
    "vae": [f"{GENERATE} --model vae {BOUND}"],
    "vae iaf, colour": [
        f"{SLOWLY.replace('grey', 'colour')} --model vae --model.posterior iaf --model.flow-hidden 16 --levels 256 {BOUND}"
    ],
    "vae, resumed": [f"{GENERATE} --model vae {BOUND} --judge-images 0", "resume run --epochs 3"],
    "vae, pictures": [f"{GENERATE} --model vae {BOUND} --model.latent 4 --pictures"],
    "vae of frames": [
        "generate --out run --model vae --data frames:genrl/SparseMountainCar-v0 --size 16 --frames 60 --epochs 1 --no-pictures"
    ],
    "conditional-vae": [f"{GENERATE} --model conditional-vae {BOUND} --model.hidden 32"],
    "naive-bayes": ["generate --out run --data ../folder --model naive-bayes --no-pictures --judge-images 8"],
    "pixelcnn": [f"{SLOWLY} --model pixelcnn --model.width 16 --model.depth 2"],
    "pixelcnn mixture": [f"{SLOWLY} --model pixelcnn --model.width 16 --model.depth 2 --model.mixture 3 --levels 256"],
    "realnvp": [f"{SLOWLY} --model realnvp {BOUND} --model.width 8"],
    "vq-vae": [f"{SLOWLY} --model vq-vae --model.width 32 --model.depth 1"],
    "gan": [f"{GENERATE} --model gan --model.width 8"],
    "dcgan": [f"{SLOWLY} --model dcgan --model.width 8"],
    "conditional-gan": [f"{SLOWLY} --model conditional-gan --model.width 8"],
    "infogan": [f"{SLOWLY} --model infogan --model.width 8"],
    "semi-supervised": [f"{SLOWLY} --model semi-supervised --model.width 8 --labels 16"],
    "energy": [f"{SLOWLY} --model energy --model.width 8 --model.chains 64"],
    "diffusion": [f"{SLOWLY} --model diffusion --model.width 32 --model.steps 20"],
    "vector-flow": ["here vector_flow"],
}
"""Name: what is run one after the other, in a folder of its own; a command of genrl, or `here` and a function of HERE."""

STUDY = """
[study]
seeds = 2
score = "training_return"
milestones = [256]
[run]
steps = 512
learner = "ppo"
learner_kwargs = { n_steps = 128, batch_size = 64, n_epochs = 2, net_arch = [8] }
eval_episodes = 1
pictures = false
[tasks.pendulum]
env = "Pendulum-v1"
[methods.none]
reward = "none"
[methods.rnd]
reward = "rnd"
"""

# --- what the runs need, drawn from seeds ---


def prepare() -> None:
    """Write demonstrations, images and a study into the working directory."""
    Path("study.toml").write_text(STUDY)
    _demonstrations("Pendulum-v1", lambda obs: np.clip(-8 * obs[1:2] - 2 * obs[2:], -2, 2), 4).save("pendulum.npz")
    _demonstrations("CartPole-v1", lambda obs: np.int64(obs[2] + 0.5 * obs[3] > 0), 4).save("cartpole.npz")
    _images()


def _demonstrations(task: str, expert: Callable[[np.ndarray], Any], episodes: int) -> Any:
    import gymnasium

    from genrl.data import Demonstrations, Episode

    env, made = gymnasium.make(task, max_episode_steps=100), []
    for seed in range(episodes):
        (obs, _), ended = env.reset(seed=seed), False
        rows: list[tuple[Any, ...]] = []
        all_obs = [obs]
        while not ended:
            action = expert(obs)
            obs, reward, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
            rows.append((action, reward, terminated, truncated))
            all_obs.append(obs)
        actions, rewards, terminations, truncations = (np.array(column) for column in zip(*rows, strict=True))
        made.append(Episode(np.array(all_obs), actions, rewards.astype(np.float64), terminations, truncations))
    return Demonstrations.from_episodes(made, env_id=task)


def _images() -> None:
    """Noisy bars in four places, one place a class: 16 × 16 in grey, 8 × 8 in colour, and a folder of files."""
    from PIL import Image

    rng = np.random.default_rng(0)
    labels = np.arange(160) % 4
    grey = rng.integers(0, 60, (160, 16, 16)).astype(np.uint8)
    for image, label in zip(grey, labels, strict=True):
        image[:, 4 * label : 4 * label + 3] += rng.integers(100, 190, dtype=np.uint8)
    np.savez("grey.npz", x_train=grey[:120], y_train=labels[:120], x_test=grey[120:], y_test=labels[120:])
    np.savez("colour.npz", images=np.stack([grey[:, ::2, ::2], grey[:, 1::2, ::2], grey[:, ::2, 1::2]], axis=-1))
    for number, (image, label) in enumerate(zip(grey, labels, strict=True)):
        folder = Path("folder") / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03}.png")


# --- what has no command, from what the sockets export ---


def cloning() -> dict[str, Any]:
    """Each kind of policy of each kind of action."""
    from sb3_contrib import QRDQN, TQC, CrossQ
    from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3

    from genrl.data import Demonstrations
    from genrl.policies import clone

    found: dict[str, Any] = {}
    box: list[Any] = [PPO, SAC, TQC, TD3, DDPG, CrossQ]
    discrete: list[Any] = [A2C, DQN, QRDQN]
    for task, kinds in (("Pendulum-v1", box), ("CartPole-v1", discrete)):
        demonstrations = Demonstrations.load(f"../{task.split('-')[0].lower()}.npz")
        for kind in kinds:
            model = kind("MlpPolicy", task, seed=0, device="cpu", policy_kwargs={"net_arch": [16]})
            metrics = clone(model, demonstrations, epochs=5)
            found |= {f"{kind.__name__}/{name}": value for name, value in (metrics | model.policy.state_dict()).items()}
    return found


def dagger() -> dict[str, Any]:
    """Three rounds on the pendulum."""
    import gymnasium
    from stable_baselines3 import PPO

    from genrl.policies import dagger

    model = PPO("MlpPolicy", "Pendulum-v1", seed=0, device="cpu", policy_kwargs={"net_arch": [16]})
    known = dagger(model, lambda obs: np.clip(-8 * obs[1:2] - 2 * obs[2:], -2, 2), gymnasium.make("Pendulum-v1"), rounds=3, epochs=5)
    return {f"known/{name}": value for name, value in known.transitions()._asdict().items()} | model.policy.state_dict()


def vector_flow() -> dict[str, Any]:
    """A few steps of a spline flow, and samples of it."""
    import torch

    from genrl.models import VectorFlow

    torch.manual_seed(0)
    x = torch.randn(200, 2) * torch.tensor([1.0, 3.0])
    flow = VectorFlow(2, transforms=2, hidden=(16,)).standardise(x)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        flow.loss(x).backward()
        optimizer.step()
    return {"log_prob": flow.log_prob(x).detach(), "sample": flow.sample(10).detach()} | flow.state_dict()


HERE: dict[str, Callable[[], dict[str, Any]]] = {"cloning": cloning, "dagger": dagger, "vector_flow": vector_flow}

# --- running ---


def run_all(out: Path, only: str | None) -> int:
    """Run what RUNS says and write the numbers; 1 if a run failed."""
    chosen = {name: lines for name, lines in RUNS.items() if only is None or name == only}
    if not chosen:
        print(f"there is no run {only!r}; choose one of: {'; '.join(RUNS)}", file=sys.stderr)
        return 2
    numbers: dict[str, Any] = {}
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        _process(f"here {prepare.__name__}", Path(temporary))
        for index, (name, lines) in enumerate(chosen.items()):
            folder, start = Path(temporary) / f"{index:02}", time.perf_counter()
            folder.mkdir()
            problem = next((problem for line in lines if (problem := _process(line, folder))), None) or _said(folder)
            parts = {"failed": problem} if problem else dict(sorted(parts_of(folder)))
            failed += problem is not None
            numbers[name] = {"sha256": _sha256(json.dumps(parts).encode()), "parts": parts}
            print(f"{name:26} {time.perf_counter() - start:5.1f} s  {problem or numbers[name]['sha256'][:16]}", file=sys.stderr, flush=True)
    out.write_text(json.dumps(numbers, indent=1) + "\n")
    return int(failed > 0)


def _process(line: str, folder: Path) -> str | None:
    """Run one line in ``folder``, with one thread and nothing of the user's; what went wrong, or ``None``."""
    words = shlex.split(line)
    command = [str(Path(__file__).resolve()), "--here", words[1]] if words[0] == "here" else ["-m", "genrl", *words]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GENRL_")}
    env |= {"PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder.parent / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    env |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1") | {"MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"`{line}` ended with {done.returncode}: {' '.join(done.stderr.split())[-400:]}"


def _said(folder: Path) -> str | None:
    """The first error that a result tells of: a failed evaluation or measurement is no failed command."""
    for path in sorted(folder.rglob("result.json")):
        for key, value in json.loads(path.read_text()).items():
            if key.endswith("error") and value:
                return f"{key}: {value}"
    return None


def here(name: str) -> None:
    """In a process of its own: prepare, or a function of HERE, whose numbers go into a file."""
    import torch

    torch.set_num_threads(1)
    if name == prepare.__name__:
        prepare()
    else:
        np.savez("numbers.npz", **{key.replace("/", "."): np.asarray(value) for key, value in HERE[name]().items()})


# --- from files to numbers ---

CLOCKS = ("seconds", "time/fps", "time/time_elapsed", "steps_per_second", "peak_rss_mb", "t")
"""Names of numbers that differ each time; `t` is that of an episode in SB3's `ep_info_buffer`."""
NOT_COMPUTED = (*CLOCKS, "format", "machines", "refused")
HASH = re.compile(r"-[0-9a-f]{10}(?=[/.])")
"""Of the configuration, in the names of a study's cells; a new option changes it."""


def parts_of(folder: Path) -> Iterator[tuple[str, Any]]:
    """Name and checksum, or number, of each thing that a run computed."""
    for path in sorted(folder.rglob("*")):
        name = HASH.sub("", path.relative_to(folder).as_posix())
        if path.suffix == ".safetensors":
            yield from _of_safetensors(name, path)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                yield name, _tensors(arrays[key] for key in arrays.files if arrays[key].dtype.kind in "fiub")
        elif path.name == "model.zip":
            yield name, _tensors(_of_zip(path))
        elif path.suffix == ".csv":
            yield from _of_csv(name, path)
        elif path.suffix == ".json" and path.name != "config.json":
            yield from ((f"{name}: {key}", value) for key, value in _plain(json.loads(path.read_text()), ""))


def _of_safetensors(name: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Tensors, and the plain numbers of the metadata."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        yield name, _tensors(file.get_tensor(key) for key in file.keys())  # noqa: SIM118 (not a dict)
        state = json.loads((file.metadata() or {}).get("state", "{}"))
        state.pop("__crc32__", None)  # which follows from the rest
    yield f"{name}: plain numbers", _sha256(json.dumps(sorted(repr(value) for _, value in _plain(state, ""))).encode())


def _of_zip(path: Path) -> Iterator[Any]:
    """All tensors of a learner that SB3 saved."""
    import torch

    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".pth"):
                yield from _leaves(torch.load(io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    elif hasattr(value, "dtype"):
        yield value


def _of_csv(name: str, path: Path) -> Iterator[tuple[str, Any]]:
    """One part a column: the numbers in it, so that 1 and 1.0 are the same, and the rows without one."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    for column in rows[0] if rows else ():
        if not _is_left_out(column):
            yield f"{name}: {column}", _sha256(",".join(_number(row[column]) for row in rows).encode())


def _number(text: str) -> str:
    try:
        return repr(float(text))
    except ValueError:
        return ""


def _plain(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Path and value of the numbers in JSON, without clocks; words are left out, since they may be said otherwise."""
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            if not _is_left_out(str(name)):
                yield from _plain(item, f"{key}/{name}" if key else str(name))
    elif isinstance(value, int | float):  # bools too
        yield key, value


def _is_left_out(name: str) -> bool:
    return name in NOT_COMPUTED or name.endswith("_seconds")


def _tensors(tensors: Iterable[Any]) -> str:
    """Checksum of all of them in the order of their own checksums, so that a tensor with another name is still the same tensor."""
    import torch

    digests = []
    for tensor in map(torch.as_tensor, tensors):
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        digests.append(_sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode() + content))
    return f"{len(digests)} tensors {_sha256(' '.join(sorted(digests)).encode())}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- comparing ---

READABLE = ("steps", "training_return", "bonus_mean", "likelihood/bits_per_dim", "distances/fid", "accuracy/accuracy")


def compare(before: dict[str, Any], after: dict[str, Any], only: str | None) -> int:
    """Print one line a run, and below it what differs; 1 if anything does."""
    names = [name for name in dict.fromkeys([*before, *after]) if only is None or name == only]
    different = 0 if names else 1
    for name in names:
        a, b = (numbers.get(name, {}).get("parts") for numbers in (before, after))
        same = a is not None and a == b and "failed" not in a
        different += not same
        print(f"{'same' if same else 'DIFFERENT':9}  {name:26}  {_readable(a or b or {})}")
        if not same:
            print("\n".join(f"{'':11}{line}" for line in _differences(a, b)))
    print(f"{different} of {len(names)} runs differ")
    return int(different > 0)


def _readable(parts: dict[str, Any]) -> str:
    found = {key.rpartition(": ")[2]: value for key, value in parts.items() if key.split(": ")[0].endswith("result.json")}
    return ", ".join(f"{key} {found[key]:.6g}" for key in READABLE if key in found)


def _differences(a: dict[str, Any] | None, b: dict[str, Any] | None) -> Iterator[str]:
    if a is None or b is None:
        yield f"only {'after' if a is None else 'before'}"
        return
    for key in sorted({*a, *b}):
        left, right = (str(parts.get(key, "absent")) for parts in (a, b))
        if left != right or key == "failed":
            yield f"{key}: {_short(left)} -> {_short(right)}"


def _short(text: str) -> str:
    words = text.split(" ")
    return " ".join(word[:12] if len(word) == 64 else word for word in words)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", nargs="?", type=Path, help="the JSON to write")
    parser.add_argument("--only", metavar="NAME", help="this run alone")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("BEFORE", "AFTER"), help="two such files; exits with 1 if they differ")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        here(args.here)
        return 0
    if args.compare:
        before, after = (json.loads(path.read_text()) for path in args.compare)
        return compare(before, after, args.only)
    if args.out is None:
        parser.error("give the JSON to write, or --compare BEFORE AFTER")
    return run_all(args.out, args.only)


if __name__ == "__main__":
    sys.exit(main())
