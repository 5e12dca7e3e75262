"""What goes into docs/upstream.md? `python -m tests.upstream > docs/upstream.md`."""

import sys

from tests.upstream.page import page

sys.stdout.write(page())
