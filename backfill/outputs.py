"""The names of the outputs: an output is a file in `effects/`, and the file's name is the output's name.

The settings, the ledger's figures and `wiring` take the names from here, so that none of them lists outputs of its
own. The files are listed and not imported: `report` and `status` start without the adapters.
"""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import Final

NAMES: Final = tuple(sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).with_name("effects"))])))
