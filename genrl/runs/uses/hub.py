"""A run on the hub: tensors, plain values, pictures and a card, never a pickle; and back, as input from a stranger."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genrl.errors import RunError, command, extra, one_line, printable
from genrl.files import check_new, new_folder, save_state, write_json, write_whole
from genrl.reading import DECODED, TABLE, TEXT, FileError, in_bytes, open_regular, read_bytes, read_json
from genrl.roles import MODELS
from genrl.runs.config.base import FRAMES
from genrl.runs.directory import POLICY, RunDirectory, film_name
from genrl.runs.uses.load import LoadedRun, load

__all__ = ["card", "pull", "push", "used_by"]

PICTURE = 64 * 2**20
ALL = 2 * DECODED
"""Bytes of a pulled run, at most."""
BOUNDS: dict[str, int] = {
    "config.json": TEXT,
    "result.json": TEXT,
    "imitation.json": TEXT,
    "dream.json": TEXT,
    "progress.csv": TABLE,
    "episodes.csv": TABLE,
    POLICY: DECODED,
    "model.safetensors": DECODED,
    "vecnormalize.safetensors": DECODED,
    "reward.safetensors": DECODED,
    "encoder.safetensors": DECODED,
    "watch.gif": PICTURE,
    "watch.mp4": PICTURE,
    "README.md": TEXT,
}
"""Files of a run on the hub, and the bytes of each, at most. Nothing else is sent or fetched, but pictures."""
PICTURES = re.compile(r"[a-z][a-z0-9_]{0,60}\.png")
REPOSITORY = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)
LISTED = 10_000
"""Files of a repository, at most."""


def push(
    path: str | Path,
    repository: str,
    *,
    public: bool = False,
    best: bool = False,
    average: bool = False,
    imports: Collection[str] = (),
) -> str:
    """Send a run to the hub: weights and statistics as safetensors, configuration, numbers, pictures, film, and a card.

    The repository is private unless ``public``. Paths (but in keywords of the task), the machine and the command of the run stay here.

    Args:
        path: the run directory, of a learner or of a generative model.
        repository: where to, ``user/name``.
        public: whether everybody may see a repository that is made now.
        best: send the model of the best evaluation instead of the last one.
        average: send the mean of the last policies instead of the last one.
        imports: modules that the run may import.

    Returns:
        Where it is now.

    Raises:
        RunError: huggingface_hub is not installed, the run has no model, or the hub refuses.
    """
    hub = extra("huggingface_hub", "hub", "genrl push")
    _check_repository(repository)
    run = RunDirectory.open(path)
    model = load(path, imports, best, average)
    with tempfile.TemporaryDirectory(prefix="genrl-") as folder:
        _pack(run, model, Path(folder), repository, film_name(best, average))
        with _in_one_sentence(repository):
            api = hub.HfApi()
            api.create_repo(repository, private=not public, exist_ok=True)
            sent = api.upload_folder(repo_id=repository, folder_path=folder, commit_message="A run of genrl")
    return str(getattr(sent, "commit_url", repository))


def pull(repository: str, out: str | Path | None = None, revision: str | None = None) -> Path:
    """Fetch a run from the hub into a new directory; nothing in it is run, and what is no file of a run is left there.

    Args:
        repository: where from, ``user/name``.
        out: the new directory; by default runs/name.
        revision: a commit, a branch or a tag.

    Returns:
        The run directory, as :func:`genrl.load` and the commands take it.

    Raises:
        RunError: huggingface_hub is not installed, the directory exists, the hub refuses, or the repository holds no run of genrl or
            larger files than a run has.
    """
    hub = extra("huggingface_hub", "hub", "genrl pull")
    _check_repository(repository)
    target = Path(out) if out is not None else Path("runs") / repository.partition("/")[2]
    check_new(target)
    with _in_one_sentence(repository):
        api = hub.HfApi()
        about = api.model_info(repository, revision=revision, files_metadata=True)
    sizes = _sizes(repository, about.siblings or [])
    with new_folder(target) as whole, tempfile.TemporaryDirectory(prefix="genrl-") as folder:
        for name, most in sizes.items():
            with _in_one_sentence(repository):
                fetched = api.hf_hub_download(repository, name, revision=about.sha, local_dir=folder)
            write_whole(whole / name, read_bytes(fetched, most))
        _check_run(repository, whole)
    return target


def _check_repository(repository: str) -> None:
    if not REPOSITORY.fullmatch(repository) or ".." in repository:
        raise RunError(f"{repository!r} is no repository of the hub; write it as user/name")


def _sizes(repository: str, files: Collection[Any]) -> dict[str, int]:
    """Names of the files that are fetched, and the bytes of each, at most."""
    if len(files) > LISTED:
        raise RunError(f"{repository} lists {len(files):,} files, more than a run has; nothing was fetched")
    bounds = {str(file.rfilename): (_bound(str(file.rfilename)), file.size) for file in files}
    known = {name: (most, size) for name, (most, size) in bounds.items() if most}
    if "config.json" not in known or not {POLICY, "model.safetensors"} & known.keys():
        pickled = "; it has model.zip, which may hold a pickle" if any(name.endswith(".zip") for name in bounds) else ""
        raise RunError(f"{repository} holds no run of genrl, which has config.json and {POLICY} or model.safetensors{pickled}")
    for name, (most, size) in known.items():
        if size is not None and size > most:
            raise RunError(f"{repository} has {name} of {in_bytes(size)}, but at most {in_bytes(most)} are fetched; nothing was")
    if sum(size or 0 for _, size in known.values()) > ALL:
        raise RunError(f"{repository} has more than {in_bytes(ALL)}, which is more than a run has; nothing was fetched")
    return {name: most for name, (most, _) in known.items()}


def _bound(name: str) -> int:
    return BOUNDS.get(name, PICTURE if PICTURES.fullmatch(name) else 0)


def _check_run(repository: str, folder: Path) -> None:
    """Refuse what is no run, before it gets its name."""
    try:
        config = read_json(folder / "config.json")
    except FileError as error:
        raise RunError(f"{repository} holds no run of genrl: {one_line(error).replace(str(folder), '').lstrip('/')}") from error
    weights = "model.safetensors" if config.get("command") == "generate" else POLICY
    if not (folder / weights).is_file():
        raise RunError(f"{repository} holds no run of genrl: its {weights} is missing")


def _pack(run: RunDirectory, model: Any, folder: Path, repository: str, film: str) -> None:
    """What is sent, in ``folder``; ``film`` is the name of the one that shows the policy which is sent."""
    config = read_json(run.config)
    result = _without_paths(read_json(run.result)) if run.result.is_file() else {}
    if result:
        write_json(folder / run.result.name, result)
    if isinstance(model, LoadedRun):
        result |= {"evaluation_return": _return_of(model, run, result)}
    own = {"config.json", "result.json", POLICY, "vecnormalize.safetensors", "README.md"}
    kept = {path.name: path for path in sorted(run.path.iterdir())}
    kept |= {f"watch.{ending}": run.path / f"{film}.{ending}" for ending in ("gif", "mp4")}
    for name, path in kept.items():
        if path.is_file() and not path.is_symlink() and name not in own and 0 < path.stat().st_size <= _bound(name):
            with open_regular(path) as source, (folder / name).open("wb") as copy:
                shutil.copyfileobj(source, copy)
    if isinstance(model, LoadedRun):
        save_state(folder / POLICY, {"policy": model.learner.policy.state_dict()})
        if model.statistics_file.is_file():
            shutil.copyfile(model.statistics_file, folder / "vecnormalize.safetensors")
    config = _without_this_machine(config)
    write_json(folder / run.config.name, config)
    films = sorted(path.name for path in folder.glob("*.gif"))
    write_whole(folder / "README.md", card(repository, config, result, films[0] if films else None).encode())


def _return_of(model: LoadedRun, run: RunDirectory, result: Mapping[str, Any]) -> float | None:
    """Mean return of the deterministic episodes of the policy that is sent: the last one, the best one, or the mean of the last ones."""
    whose = {run.best: "best", run.average: "averaged"}.get(model.model_file, "evaluation")
    return result.get(f"{whose}_return")


def _without_this_machine(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without paths, the command and the machine; what identifies its parts stays."""
    about = config.get("about") or {}
    return _without_paths({**config, "about": {name: about[name] for name in ("versions", "encoder") if name in about}})


def _without_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration or a result with the last part of each path in it; a task whose frames are recorded is no path."""
    paths = {name: values.get(name) for name in ("out", "demos", "encoder", "data", "data_root", "policy")}
    return {**values, **{name: Path(path).name for name, path in paths.items() if isinstance(path, str) and not path.startswith(FRAMES)}}


NUMBERS = {
    "steps": "environment steps",
    "evaluation_return": "return of deterministic episodes, mean",
    "training_return": "return of the last 20 training episodes, mean",
    "epochs": "epochs",
    "parameters": "parameters",
    "seconds": "seconds of training",
}


def card(repository: str, config: Mapping[str, Any], result: Mapping[str, Any], film: str | None) -> str:
    """The card of a run, in Markdown with the hub's front matter.

    Example:
        >>> text = card("me/swing", {"command": "explore", "env": "Pendulum-v1", "learner": "sac"}, {"evaluation_return": -150.0}, None)
        >>> [line for line in text.splitlines() if "return" in line]
        ['| return of deterministic episodes, mean | -150 |']
    """
    command_, subject = str(config.get("command", "explore")), str(config.get("env") or config.get("data") or "")
    made = str(config.get("model") if command_ == "generate" else config.get("learner"))
    front = [
        "---",
        "library_name: genrl-toolkit",
        "tags: [reinforcement-learning, stable-baselines3, genrl]" if command_ != "generate" else "tags: [image-generation, genrl]",
    ]
    score = result.get("evaluation_return")
    if isinstance(score, int | float) and command_ != "generate":
        front += ["model-index:", f"- name: {json.dumps(made)}", "  results:", "  - task: {type: reinforcement-learning}"]
        front += [f"    dataset: {{name: {json.dumps(subject)}, type: {json.dumps(subject)}}}", "    metrics:"]
        front += [f"    - {{type: mean_reward, name: mean_reward, value: {score}}}"]
    rows = [f"| {words} | {_short(result[name])} |" for name, words in NUMBERS.items() if result.get(name) is not None]
    parts = {name: config.get(name) for name in ("env", "data", "learner", "reward", "world", "model", "seed")}
    rows += [f"| {name} | {_cell(value)} |" for name, value in parts.items() if value not in (None, "")]
    name = repository.partition("/")[2]
    body = [
        f"# {_cell(made)} on {_cell(subject)}",
        "",
        f"Trained by `genrl {command_}`. Weights are safetensors; nothing here is a pickle.",
        "",
        *([f"![The policy]({film})", ""] if film else []),
        "| | |",
        "| --- | --- |",
        *rows,
        "",
        "```",
        command("pull", repository),
        *([command(used, f"runs/{name}")] if (used := used_by(config)) else []),
        "```",
        "",
        "```python",
        "import genrl",
        "",
        f'run = genrl.load("runs/{name}")',
        "```",
    ]
    return "\n".join([*front, "---", "", *body, ""])


def used_by(config: Mapping[str, Any]) -> str | None:
    """The command that shows what a run can do; none for an image model that draws nothing by itself.

    Example:
        >>> [used_by({"command": "generate", "model": name}) for name in ("vae", "jepa")], used_by({"command": "explore"})
        (['sample', None], 'watch')
    """
    if config.get("command") != "generate":
        return "watch"
    return "sample" if hasattr(MODELS.load(config.get("model")), "sample") else None


def _short(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else _cell(value)


def _cell(value: Any) -> str:
    """A value in a table, whatever is in it."""
    return printable(str(value)).replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")[:200]


@contextmanager
def _in_one_sentence(repository: str) -> Iterator[None]:
    """Whatever the hub and the way there answer."""
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        kind = type(error).__name__
        why = {
            "RepositoryNotFoundError": "there is none, or it is private",
            "LocalTokenNotFoundError": "nobody is logged in",
            "RevisionNotFoundError": "it has no such revision",
        }.get(kind, f"{kind}: {one_line(error)[:200]}")
        raise RunError(f"the hub gave or took nothing for {repository} ({why}); log in by `hf auth login`, or see the network") from error
