"""Pictures of a run, drawn from its files as PNG and SVG: learning_curve, bonus and coverage; of an imitation, discriminator too."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from genrl.files import write_whole
from genrl.reading import read_json
from genrl.roles import NONE
from genrl.runs.averages import trailing_mean
from genrl.runs.coverage import axis_name, read_histogram, without_gaps
from genrl.runs.directory import RunDirectory, read_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "ORANGE",
    "STYLE",
    "draw",
    "draw_dream",
    "drawing",
    "empty_figure",
    "new_figure",
    "save_figure",
]

BLUE, ORANGE, GREY, INK = "#1f5fa8", "#d9722e", "#8a8f98", "#30343b"
STYLE: Any = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY, "axes.labelcolor": INK, "axes.axisbelow": True,
    "axes.titlelocation": "left", "axes.titlesize": 10, "axes.titleweight": "bold", "axes.grid": True, "grid.color": "#e6e8eb",
    "grid.linewidth": 0.8, "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK, "font.size": 9.5,
    "legend.frameon": False, "svg.hashsalt": "genrl",
}  # fmt: skip


@contextmanager
def drawing(style: Any = STYLE) -> Iterator[None]:
    """Draw in ``style``. A matplotlibrc, which Matplotlib takes from the current folder, has no say: it could start LaTeX."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style)
        yield


def draw(run: RunDirectory) -> None:
    """Draw what the run's files hold; a picture without data is left out."""
    with drawing():
        title = _title(run, "reward")
        _learning_curve(run, title)
        _bonus(run, title)
        _coverage(run, title)
        _discriminator(run, title)


def _title(run: RunDirectory, role: str) -> str:
    """The task, the learner and what fills ``role`` or is there in its place, and the seed, in two lines."""
    config = read_json(run.config)
    env, learner, part, world = (str(config.get(name, NONE)).split(":")[-1] for name in ("env", "learner", role, "world"))
    if part == NONE:
        part = "demonstrations" if run.imitation.is_file() else world
    return f"{env}\n{learner}{' alone' if part == NONE else f' + {part}'}, seed {config['seed']}"


def draw_dream(run: RunDirectory, found: dict[str, Any]) -> None:
    """Draw dream.png: the model's error after k steps, and the return of each policy in reality and in the dream."""
    with drawing():
        figure = empty_figure(9.6, 3.8)
        figure.suptitle(_title(run, "world").replace("\n", ", "), x=0.01, ha="left", fontsize=10, fontweight="bold")
        left, right = figure.subplots(1, 2)
        quality, colours = found["quality"], {"model": BLUE, "persistence": GREY, "constant velocity": ORANGE}
        for name, values in quality["error"].items():
            left.plot(
                quality["horizons"], [np.nan if value is None else value for value in values], "o-", label=name, color=colours.get(name)
            )
        known = [value for values in quality["error"].values() for value in values if value is not None]
        left.set(xscale="log", yscale="log" if any(known) else "linear")
        left.set_xticks(quality["horizons"], [str(k) for k in quality["horizons"]])
        left.minorticks_off()
        title = "the model" if known else "the model: no episode has two steps"
        left.set(xlabel="steps without seeing reality", ylabel="error (std of observations)", title=title)
        left.legend()
        real, dreamed, blurred = found["real_returns"], found["dream_returns"], found["policies"]
        ends = [min(*real, *dreamed, *blurred["real"]), max(*real, *dreamed, *blurred["real"])]
        right.plot(ends, ends, color=GREY, linewidth=0.8)
        # The first of these policies is the trained one itself, with 0 % random actions.
        right.scatter(blurred["real"][1:], blurred["dream"][1:], color=ORANGE, label="10 to 100 % random actions")
        right.scatter(real, dreamed, color=BLUE, label="the policy, by start")
        rho = blurred["rank_correlation"]
        title = "the same start and policy" + ("" if rho is None else f": rank correlation {rho:.2f}")
        right.set(xlabel="return in reality", ylabel="return in the dream", title=title)
        right.legend()
        save_figure(run, "dream", figure)


def empty_figure(width: float, height: float) -> Figure:
    """A figure of so many inches without axes, to be made and drawn within :func:`drawing`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_figure(title: str, width: float = 6.4, height: float = 3.8) -> tuple[Figure, Axes]:
    """A figure with one pair of axes and a title, to be made and drawn within :func:`drawing`."""
    figure = empty_figure(width, height)
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes


def save_figure(run: RunDirectory, name: str, figure: Figure) -> None:
    """Write ``name``.png and ``name``.svg into the run directory, whole."""
    for kind, options in (("png", {"dpi": 150}), ("svg", {"metadata": {"Date": None}})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, **options)
        write_whole(run.path / f"{name}.{kind}", buffer.getvalue())


def _learning_curve(run: RunDirectory, title: str) -> None:
    episodes = run.read_episodes()
    if not episodes:
        return
    steps = np.array([int(row["step"]) for row in episodes])
    returns = np.array([float(row["return"]) for row in episodes])
    figure, axes = new_figure(title)
    shown = np.linspace(0, len(steps) - 1, min(len(steps), 4000)).astype(int)  # an SVG of every episode could be huge
    dots: Any = {"alpha": 0.4, "markersize": 5, "markeredgewidth": 0, "clip_on": False}
    axes.plot(steps[shown], returns[shown], ".", color=BLUE, label="episode", **dots)
    ends = shown[np.append(np.diff(steps[shown]) > 0, True)]  # where several environments end episodes at one step, one point, not a zigzag
    axes.plot(steps[ends], trailing_mean(returns, 20)[ends], color=BLUE, linewidth=1.8, label="mean of 20")
    if evaluations := read_csv(run.evaluations):
        points = [[float(row[name]) for row in evaluations] for name in ("step", "return")]
        axes.plot(*points, "o-", color=INK, linewidth=1, markersize=4, label="deterministic", clip_on=False)
    first = read_json(run.result).get("first_reward_step")
    if first is not None and first > steps[0]:
        axes.axvline(first, color=ORANGE, linewidth=1.2, linestyle="--", label="first reward")
    if run.imitation.is_file():
        known = read_json(run.imitation)
        for key, words, style in (("expert_return", "expert", "-"), ("cloned_return", "cloned", ":")):
            if known[key] is not None:
                axes.axhline(known[key], color=INK, linewidth=1.2, linestyle=style, label=words)
    _steps_axis(axes, steps[-1])
    axes.set_ylabel("return of the task")
    if axes.dataLim.height == 0:  # else the axis would be of hundredths
        axes.set_ylim(returns[0] - 1, returns[0] + 1)
    axes.margins(y=0.08)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    save_figure(run, "learning_curve", figure)


def _bonus(run: RunDirectory, title: str) -> None:
    rows = [row for row in read_csv(run.progress) if row.get("reward/bonus_mean")]
    if not rows:
        return
    steps = np.array([float(row["time/total_timesteps"]) for row in rows])
    mean, std = (np.array([float(row.get(f"reward/bonus_{name}") or 0) for row in rows]) for name in ("mean", "std"))
    figure, axes = new_figure(title)
    low = np.maximum(mean - std, min(mean.min(), 0))
    axes.fill_between(steps, low, mean + std, color=ORANGE, alpha=0.18, linewidth=0, label="± one std")
    axes.plot(steps, mean, color=ORANGE, linewidth=1.8, marker="." if len(steps) < 40 else None, label="mean", clip_on=False)
    _steps_axis(axes, steps[-1])
    axes.set_ylabel("bonus per step, before its weight")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    save_figure(run, "bonus", figure)


def _discriminator(run: RunDirectory, title: str) -> None:
    """How well it tells the expert from the agent, and whether what it pays goes with what the task pays."""
    rows = [row for row in read_csv(run.progress) if row.get("reward/expert_accuracy")]
    if not rows:
        return

    def column(name: str) -> np.ndarray:
        return np.array([float(row.get(name) or "nan") for row in rows])

    returns = column("rollout/ep_rew_mean")
    panels = 2 + bool(np.isfinite(returns).any())  # before an episode has ended, there is no return to compare with
    figure = empty_figure(13 * panels / 3, 3.8)
    figure.suptitle(title, x=0.005, ha="left", fontsize=10, fontweight="bold")
    loss, accuracy, *others = figure.subplots(1, panels)
    names = {"loss": "of both", "expert_loss": "demonstrations", "held_out_loss": "held-out ones"}
    _over_steps(loss, column, {f"reward/{name}": words for name, words in names.items()}, (INK, BLUE, GREY))
    for guess in (np.log(2), 2 * np.log(2)):  # of demonstrations alone, and with the agent's transitions
        loss.axhline(guess, color=INK, linewidth=0.8, linestyle=":")
    loss.set_ylim(bottom=0)
    loss.set_ylabel("loss of the discriminator, nats")
    _legend_above(loss)
    names = {"expert": "demonstrations", "agent": "agent", "held_out": "held-out ones"}
    _over_steps(accuracy, column, {f"reward/{name}_accuracy": words for name, words in names.items()}, (BLUE, ORANGE, GREY))
    accuracy.axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
    accuracy.set_ylim(0, 1.02)
    accuracy.set_ylabel("accuracy of the discriminator")
    _legend_above(accuracy)
    for reward in others:
        points = reward.scatter(column("reward/bonus_mean"), returns, c=column("time/total_timesteps"), cmap="viridis", s=12)
        figure.colorbar(points, ax=reward, label="environment steps").outline.set_visible(False)
        reward.set_xlabel("reward per step, mean of a rollout")
        reward.set_ylabel("return of the task")
    save_figure(run, "discriminator", figure)


def _over_steps(axes: Axes, column: Callable[[str], np.ndarray], names: Mapping[str, str], colors: Sequence[str]) -> None:
    """Columns of the log over environment steps, named by their labels; one without a number is left out."""
    steps = column("time/total_timesteps")
    style: Any = {"linewidth": 1.8, "marker": "." if len(steps) < 40 else None, "clip_on": False}
    for (name, words), color in zip(names.items(), colors, strict=True):
        if np.isfinite(values := column(name)).any():
            axes.plot(steps, values, color=color, label=words, **style)
    _steps_axis(axes, steps[-1])


def _coverage(run: RunDirectory, title: str) -> None:
    if not run.coverage.is_file():
        return
    counts, edges, names = read_histogram(run.coverage)
    if not counts.size:
        return
    counts, edges = without_gaps(counts, edges)
    figure, axes = new_figure(title, width=5.6, height=4.4)
    if len(names) == 1:
        axes.stairs(counts, edges[0], fill=True, color=BLUE)
        axes.set_ylabel("visits")
    else:
        _map(figure, axes, counts, edges)
        axes.set_ylabel(axis_name(names[1]))
    axes.set_xlabel(axis_name(names[0]))
    save_figure(run, "coverage", figure)


def _map(figure: Figure, axes: Axes, counts: np.ndarray, edges: Sequence[np.ndarray]) -> None:
    from matplotlib.colors import LogNorm

    visits = np.ma.masked_equal(counts.T, 0)
    mesh = axes.pcolormesh(*edges, visits, norm=LogNorm(1, max(2, int(counts.max()))), cmap="viridis", rasterized=True)
    axes.grid(visible=False)
    bar: Any = figure.colorbar(mesh, ax=axes, label=f"visits ({np.count_nonzero(counts):,} bins)", pad=0.02)
    bar.outline.set_visible(False)


def _legend_above(axes: Axes) -> None:
    """Put the legend in a row above the axes, where no curve can be."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.1, 1), ncols=3, fontsize=8, borderaxespad=0.2, columnspacing=1.2, handlelength=1.4)


def _steps_axis(axes: Axes, last: float) -> None:
    from matplotlib.ticker import EngFormatter

    axes.set_xlim(0, last)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("environment steps")
