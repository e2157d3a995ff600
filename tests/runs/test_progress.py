"""The line that shows how far a run is, on a terminal."""

from io import StringIO

from rich.console import Console

from genrl.runs.callbacks.progress import Progress
from tests.runs.tiny import config


def test_the_steps_stay_whole_on_a_terminal_of_80_columns(tmp_path):
    bar = Progress(config(tmp_path, "sac"), [], quiet=True)._bar
    bar.add_task("Pendulum-v1-sac-rnd-seed0", total=100_000, completed=99_456, text="return -120.4  bonus 0.733")
    screen = StringIO()
    Console(file=screen, width=80).print(bar.get_renderable())
    assert " 99456/100000 " in screen.getvalue()
