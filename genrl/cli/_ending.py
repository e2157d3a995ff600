"""The end of a run on the terminal: a small table, and what to type next."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from genrl.cli._flags import env_words
from genrl.cli._words import say
from genrl.errors import command, flags, printable

if TYPE_CHECKING:
    from genrl.generation.config import GenerateConfig

__all__ = ["report", "report_generation"]

LAST = 20
"""Episodes whose mean is the training return."""
Rows = list[tuple[str, str]]
"""Names and values of the table at the end."""
EXIT_CODES = {"finished": 0, "failed": 1, "interrupted": 130}


def report(result: dict[str, Any], directory: Path) -> int:
    """Print ``result`` and the next useful command.

    Returns:
        The exit code.
    """
    from genrl.runs import RunDirectory
    from genrl.runs.opening import read_config

    config = read_config(RunDirectory(directory))
    again = config.typed("resume")
    code = _said(result, _rows(result), directory / "model.zip", f"at step {result['steps']:,}", result["evaluation_error"], again)
    if code == EXIT_CODES["finished"]:
        say(f"watch it: {config.typed('watch')}")
        if result.get("averaged_returns"):
            say(f"watch the last policies' mean: {config.typed('watch', '--average')}")
        if result.get("best_returns"):
            say(f"watch the best model: {config.typed('watch', '--best')}")
    return code


def report_generation(result: dict[str, Any], directory: Path) -> int:
    """Print the result of a generative model's run and the next useful command; returns the exit code."""
    from genrl.generation.directory import GenerationDirectory

    config = GenerationDirectory(directory).read_config()
    again, weights = command("resume", directory), directory / "model.safetensors"
    code = _said(result, _rows_of_generation(result), weights, f"after {_epochs(result)}", result["judging_error"], again)
    if code != EXIT_CODES["finished"]:
        return code
    pictures = sorted(path.name for path in directory.glob("*.png"))
    if pictures:
        say(f"pictures in {directory}: {', '.join(pictures)}")
    if blind := _blind(result.get("encoder")):
        config = replace(config, frames=max(config.frames, type(config).frames))
    if learner := _learner_that_sees(config) if result.get("encoder") and not blind else None:
        seen = flags(history=_unless_default(config, "history"))
        words = ("--env", config.task, *env_words(config.env_kwargs), "--encoder", directory, *seen, *learner, "--reward", "none")
        say(f"learn through its eyes: {command('explore', *words)}")
    elif result["counted"]:
        names = ("data_root", "images", "grey", "crop", "seed", "frames", "every", "archive", "policy", "imports")
        same = flags(data=config.data, **{name: _unless_default(config, name) for name in names})
        say(f"do better: {command('generate', '--model', 'vae', *same, *env_words(config.env_kwargs))}")
    else:
        say(f"train longer: {again} --epochs {2 * result['epochs']}")
    return EXIT_CODES["finished"]


def _unless_default(config: GenerateConfig, name: str) -> Any:
    """What a flag was given, or none where that is what it is without."""
    value = getattr(config, name)
    return None if value == getattr(type(config), name) else value


def _blind(encoder: dict[str, Any] | None) -> bool:
    """Whether there is an encoder whose codes are known to tell no number of the task's state."""
    from genrl.encoders.sight import BAD

    if not encoder or not (sight := encoder["sight"]) or not sight["state"]:
        return False
    return max([*sight["state"].values(), *sight.get("products", {}).values()]) < BAD


def _learner_that_sees(config: GenerateConfig) -> tuple[str, ...]:
    """Flags of a learner that fits the task whose frames were recorded; none where it does not observe the images that it draws."""
    from gymnasium.spaces import Box

    from genrl.encoders.view import picture_in
    from genrl.runs.environments.make import make_env

    if config.task is None:
        return ()
    env = make_env(config.task, config.env_kwargs)
    env.close()
    if picture_in(env.observation_space) is None:
        return ()
    return ("--learner", "sac", "--steps", "8000") if isinstance(env.action_space, Box) else ("--learner", "ppo")


def _said(result: dict[str, Any], rows: Rows, model: Path, where: str, left: str | None, again: str) -> int:
    """Print what became of a run, and what brings it to its end where it is not there; returns the exit code."""
    if result["status"] == "failed":
        kept = f"the last good model is {model}" if model.is_file() else "no model was saved"
        go_on = f"; when the cause is gone, go on from it with: {again}" if model.is_file() and not result.get("diverged") else ""
        say(f"genrl: {result['error']}; {kept}{go_on}", sys.stderr)
    elif result["status"] == "interrupted":
        say(f"interrupted {where}; go on with: {again}", sys.stderr)
    else:
        _print(rows)
    if result["status"] == "finished" and left:
        say(f"genrl: {left}; the training is saved, do the rest with: {again}", sys.stderr)
        return EXIT_CODES["interrupted" if "was interrupted" in left else "failed"]
    return EXIT_CODES[result["status"]]


def _print(rows: Rows) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(printable(value)))
    Console().print(table)


def _rows_of_generation(result: dict[str, Any]) -> Rows:
    training = "one pass over the images" if result["counted"] else f"{_epochs(result)} in {result['seconds']:,.0f} s"
    rows = [("images", result["images"]), ("training", f"{training}, {result['parameters']:,} parameters")]
    if named := result.get("trouble"):
        rows.append(("trouble", named))
    if known := result["likelihood"]:
        rows += _likelihood(known, black_and_white=result["levels"] == 2)
    if said := result.get("verdict"):
        rows.append(("verdict", said))
    if known := result.get("accuracy"):
        rows.append(("accuracy", f"{known['accuracy']:.2%} of {known['images']:,} test images, with {known['labels']:,} labels"))
        rows.append(("nearest neighbour", f"{known['floor']:.2%}, the trivial floor"))
    if known := result["distances"]:
        rows += _distances(known)
    if (known := result.get("encoder")) and known["sight"]:
        rows += _sight(known["sight"])
    elif known and result["data"].startswith("frames:"):
        rows.append(("what it sees", 'not measured: the task does not put its state, an array of numbers, into info["state"]'))
    if why := result.get("no_distances"):
        rows.append(("FID and KID", f"not measured: {why}"))
    return rows


def _likelihood(known: dict[str, Any], black_and_white: bool) -> Rows:
    """The likelihood of test images, and the floor that a model has to beat."""
    unit, words, form = ("nats", "nats an image", ".2f") if black_and_white else ("bits_per_dim", "bits per dimension", ".4f")
    bound = "" if known["kind"] == "exact" else " at most, by a bound"
    bound += f" with {known['samples']} samples" if known["samples"] else ""
    floor_name = known.get("floor_name", "independent pixels")

    def row(name: str, values: dict[str, Any], end: str) -> tuple[str, str]:
        return name, f"{values[unit]:{form}} ± {values[f'{unit}_error']:{form}} {words}{end}"

    return [
        row("likelihood", known, f"{bound} ({known['images']:,} test images)"),
        row(floor_name, known["floor"], ", the trivial floor"),
    ]


def _distances(known: dict[str, Any]) -> Rows:
    """FID, KID, precision and recall of samples and of as many real images, and the Inception score."""

    def row(name: str, values: dict[str, Any], end: str) -> tuple[str, str]:
        kid = f"KID {values['kid']:.3g} ± {values['kid_error']:.2g}"
        return name, f"FID {values['fid']:.3g}, {kid}, precision {values['precision']:.2f}, recall {values['recall']:.2f}{end}"

    right = "" if known["judge_accuracy"] is None else f", by a judge that names {known['judge_accuracy']:.2%} of them right"
    return [
        row("samples", known, f" ({known['images']:,} of each)"),
        row("training images", known["floor"], ", as many real ones"),
        ("Inception score", f"{known['inception_score']:.3g}, of the test images {known['inception_score_of_test']:.3g}{right}"),
    ]


def _sight(sight: dict[str, Any]) -> Rows:
    """R² of either probe, a row each, and the verdict; one row where products of codes tell no more."""

    def seen(found: dict[str, float]) -> str:
        return ", ".join(f"{name} {r2:.2f}" for name, r2 in found.items())

    if not sight["state"]:
        return [("what it sees", sight["verdict"])]
    rows = [("what it sees", f"R² of a linear probe: {seen(sight['state'])}")]
    if sight.get("products") not in (None, {}, sight["state"]):
        rows.append(("", f"R² where it is given products of codes, too: {seen(sight['products'])}"))
    return [*rows, ("", sight["verdict"])]


def _epochs(result: dict[str, Any]) -> str:
    return _count(result["epochs"], "epoch")


def _rows(result: dict[str, Any]) -> Rows:
    return [*_training(result), *_evaluation(result), *_imitation(result), *_dream(result), *_exploration(result)]


def _training(result: dict[str, Any]) -> Rows:
    if not result["steps"]:  # nothing but cloning, so there was no episode
        return [("training", f"cloning alone, no steps, {result['seconds']:,.0f} s")]
    first = result["first_reward_step"]
    cloned = ", cloning included" if result.get("imitation", {}).get("cloning") else ""
    speed = f" ({result['steps_per_second']:,.0f} steps/s)" if result["steps_per_second"] is not None else ""
    rows = [("steps", f"{result['steps']:,} in {result['seconds']:,.0f} s{cloned}{speed}"), ("episodes", f"{result['episodes']:,}")]
    pays_nothing_above_0 = result.get("imitation") or (result["training_return"] or 0) < 0
    if first is not None or not pays_nothing_above_0:
        rows.append(("first reward", f"step {first:,}" if first is not None else "none above 0 was found"))
    return [*rows, ("training return", f"{_number(result['training_return'])}{_of_last(result['episodes'])}")]


def _evaluation(result: dict[str, Any]) -> Rows:
    rows = []
    names = {"evaluation_return": "evaluation return", "averaged_return": "the last policies' mean", "best_return": "the best model"}
    for key, name in names.items():
        if returns := result.get(f"{key}s"):
            evaluated = _count(len(returns), "deterministic episode")
            spread = f", {_number(min(returns))} to {_number(max(returns))}" if len(returns) > 1 else ""
            rows.append((name, f"{_number(result[key])} ({evaluated}{spread})"))
    if known := result.get("best"):
        why = "nearest to the demonstrations" if "cost" in known else f"{_number(known['return'])}"
        rows.append(("best evaluation", f"{why} at step {known['step']:,}, its model is best.zip"))
    return rows


def _imitation(result: dict[str, Any]) -> Rows:
    if not (known := result.get("imitation")):
        return []
    whose = "the expert's, disturbed" if known.get("disturbed") else "the expert's"
    kept = f"{_count(known['episodes'], 'episode')}, {_count(known['pairs'], 'pair')}"
    rows = [(whose, f"{_number(known['expert_return'], 'unknown')} ({kept})")]
    if known["cloned_return"] is not None:
        epochs = _count(round(known["cloning"]["epochs"]), "epoch")
        rows.append(("after cloning alone", f"{_number(known['cloned_return'])} ({epochs})"))
    return rows


def _dream(result: dict[str, Any]) -> Rows:
    if not (known := result.get("dream")):
        return []
    returns = f"{_number(known['dream_return'])}, and {_number(known['real_return'])} in reality, from the same starts"
    rows = [("return in the dream", returns)]
    if known.get("rank_correlation") is not None:
        rows.append(("rank correlation", f"{known['rank_correlation']:.2f} of dream and reality, over policies from trained to random"))
    return rows


def _exploration(result: dict[str, Any]) -> Rows:
    """What the reward model paid, and how much of the task was visited."""
    from genrl.runs.coverage import axis_name

    rows = []
    if result["bonus_mean"] is not None:
        none_yet = "" if result["bonus_mean"] else "; the reward gave none before its first update"
        rows.append(("reward" if result.get("imitation") else "bonus", _number(result["bonus_mean"]) + none_yet))
    if result["coverage"] is not None and result["steps"]:
        axes = " × ".join(map(axis_name, result["coverage"]["names"]))
        rows.append(("visited bins", f"{result['coverage']['bins']:,} of {axes}"))
    if result.get("task_coverage") is not None:
        rows.append(("task coverage", f"{result['task_coverage']:.0%}"))
    return rows


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _of_last(episodes: int) -> str:
    """Which episodes a training return is the mean of."""
    if episodes < 2:
        return "" if episodes else ", no episode has ended"
    return f" (mean of the last {LAST} episodes)" if episodes > LAST else f" (mean of {episodes} episodes)"


def _number(value: float | None, missing: str = "none") -> str:
    return missing if value is None else f"{value:,.4g}"
