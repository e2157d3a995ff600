"""What a command says on a terminal: nothing in it is obeyed, and no failure is more than one sentence."""

from __future__ import annotations

import errno
import sys
from typing import TextIO

from genrl.errors import RunError, StepTimeout, one_line, printable

__all__ = ["in_one_sentence", "say"]

CURES = {
    errno.ENOSPC: "free some space, then go on with `genrl resume RUN`",
    errno.EDQUOT: "free some space, then go on with `genrl resume RUN`",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "ask its owner, or choose another one",
    errno.EPERM: "ask its owner, or choose another one",
    errno.EISDIR: "a folder lies where a file should be; move it elsewhere",
    errno.ENOTDIR: "a file lies where a folder should be; move it elsewhere",
    errno.EMFILE: "type `ulimit -n 4096` first, or take fewer --n-envs",
    errno.ENFILE: "end other programs, or take fewer --n-envs",
    errno.ENOMEM: "end other programs, or take fewer --n-envs",
    errno.EAGAIN: "end other programs, or take fewer --n-envs",
}
"""What to do about an error of the operating system."""
TRACEBACK = "to see where it comes from, type GENRL_TRACEBACK=1 in front of the command"


def say(text: str, file: TextIO | None = None) -> None:
    """Print ``text``, by default on stdout, with what a terminal would obey written out."""
    print(printable(text), file=file or sys.stdout, flush=True)


def in_one_sentence(error: Exception) -> tuple[int, str]:
    """The exit code and the sentence of whatever a command ended with.

    Example:
        >>> in_one_sentence(OSError(errno.ENOSPC, "No space left on device", "result.json"))
        (1, 'result.json: No space left on device; free some space, then go on with `genrl resume RUN`')
    """
    said = one_line(error)
    if isinstance(error, RunError):
        return 2, said
    if isinstance(error, StepTimeout):
        return 1, said
    if isinstance(error, MemoryError) or "can't allocate memory" in said or "out of memory" in said:
        known = f" ({said.partition('. ')[0]})" if said != "MemoryError" else ""
        return 1, f"there is not enough memory{known}; take a smaller model, buffer or batch, or fewer --n-envs"
    if isinstance(error, OSError) and error.strerror:
        named = error.filename2 or error.filename  # of a rename, the name that it should have
        where = f"{printable(str(named))}: " if named is not None else ""
        return 1, f"{where}{error.strerror}; {CURES.get(error.errno or 0, TRACEBACK)}"
    if "pickle" in said or "weights_only" in said:  # libraries advise to load what they refuse in a way that runs its code
        said = "a file holds what is never loaded"
    return 1, f"{type(error).__name__}: {said[:500]}; {TRACEBACK}"
