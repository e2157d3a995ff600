"""``python -m genrl`` is the ``genrl`` command."""

import os
import sys

if sys.path[0] in ("", os.getcwd()):  # noqa: PTH109  (pathlib itself would come from there)
    del sys.path[0]  # which `python -m` puts there: a torch.py in a run directory must not be taken for the library

from genrl.cli import main

sys.exit(main())
