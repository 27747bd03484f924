"""The techniques, one file each, in families. Importing this package defines them all.

``dashpot.penalties``, ``dashpot.augment`` and so on are where they are imported from.
"""

import importlib
import pkgutil

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
