"""The `genrl` command. Everything heavy is imported by the command that needs it, so that help comes at once."""

from __future__ import annotations

import importlib
import os
import re
import sys
import warnings

from genrl.cli._words import in_one_sentence, say
from genrl.errors import RunError, did_you_mean, one_line

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "explore": "train a learner on a task with an exploration bonus",
    "imitate": "train a learner to do as demonstrations do",
    "dream": "train a learner that also learns in a model of its task",
    "generate": "train a generative model on images",
    "sample": "images drawn by the generative model of a run",
    "complete": "reconstruct, inpaint, denoise, enlarge or interpolate images by the model of a run",
    "screen": "how far noise alone gets on a task",
    "record": "demonstrations by the trained policy of a run",
    "study": "train a matrix of tasks, methods and seeds, and compare them",
    "tune": "search for the hyperparameters of a run",
    "report": "one HTML page of a study",
    "resume": "go on with a run that was stopped",
    "watch": "film the trained policy of a run",
    "export": "write the trained policy of a run for use without genrl",
    "push": "send a run to the Hugging Face hub",
    "pull": "fetch a run from the Hugging Face hub",
    "list": "tasks, learners, rewards, worlds, image models and encoders",
}
"""Each command is the function ``main(argv) -> exit code`` of the module with its name in this package."""


COLOUR = re.compile(r"\x1b\[[\d;]*m")
"""What turns a colour on or off."""
COMPLETE = "--complete"
"""What a shell calls genrl with to complete a line; see docs/reference/commands.md."""


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 1 the run failed, 2 what was typed is refused, 130 interrupted.
    """
    words = sys.argv[1:] if argv is None else argv
    # A process that is started from here (an environment's, Ray's) must not look for libraries in the current folder first, either.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    warnings.showwarning = _show_warning
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        say("genrl: interrupted", sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read has gone, as in `genrl list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("GENRL_TRACEBACK"):
            raise
        code, sentence = in_one_sentence(error)
        say(f"genrl: {sentence}", sys.stderr)
        return code


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        say(_help())
        return 0
    if words[0] == "--version":
        from genrl import __version__

        say(f"genrl {__version__}")
        return 0
    if words[0] == COMPLETE:
        from genrl.cli._completion import completions

        say("\n".join(completions(_typed_so_far(), COMMANDS)))
        return 0
    return int(_command(words[0])(words[1:]))


def _typed_so_far() -> list[str]:
    """The line that bash completes, up to the cursor, without `genrl`; its last word may be empty (`man bash`, complete -C)."""
    line = os.environ.get("COMP_LINE", "")
    return line[: int(os.environ.get("COMP_POINT", len(line)))].split(" ")[1:] or [""]


def _command(name: str):  # type: ignore[no-untyped-def]
    if name not in COMMANDS:
        choices = f"; choose one of {', '.join(COMMANDS)}"
        raise RunError(f"there is no command {name!r}{did_you_mean(name, COMMANDS) or choices}")
    return importlib.import_module(f"genrl.cli.{name}").main


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: genrl COMMAND ...",
            "",
            "Generative models as parts of reinforcement learning.",
            "",
            *lines,
            "",
            "`genrl COMMAND --help` lists the flags of a command. A first run, about a minute: genrl explore",
        ]
    )


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:  # type: ignore[no-untyped-def]
    plain = COLOUR.sub("", str(message)).removeprefix("WARN: ")  # Gymnasium colours its warnings and has a word of its own for them
    say(f"genrl: warning: {one_line(Warning(plain))}", sys.stderr)
