"""``python -m genrl`` is the ``genrl`` command."""

import sys

from genrl.cli import main

sys.exit(main())
