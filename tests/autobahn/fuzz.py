"""Starts the Autobahn test suite from the folder it was installed to (CPython 2.7).

A folder made by `pip install --target` is not a site folder, so namespace packages in it are
found only after `addsitedir`.
"""

import site
import sys

site.addsitedir(sys.argv.pop(1))

from autobahntestsuite.wstest import run  # noqa: E402

sys.exit(run())
