"""The line that shows how far a run is, on a terminal."""

from io import StringIO

from rich.console import Console

from genrl.runs.callbacks.progress import Progress
from tests.runs.tiny import config


def test_a_terminal_of_80_columns_has_room_for_the_steps_a_bar_and_the_time_that_is_left(tmp_path):
    progress = Progress(config(tmp_path, "sac"), [], quiet=True)
    task = progress._bar.add_task("SparseMountainCar-v0-trpo-vime-seed0", total=100_000)
    progress._bar.update(task, completed=99_456, text="return -120.4  bonus 0.733  2,345 steps/s")
    screen = StringIO()
    Console(file=screen, width=80).print(progress._bar.get_renderable())
    assert screen.getvalue()[0] in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
    assert " 99456/100000 " in screen.getvalue()
    assert "━━━" in screen.getvalue()
    assert "-:--:--" in screen.getvalue()
