"""What an operator imports, in its own order; for the process from which operators are forked."""

from modelramp.lean import import_lazily

import_lazily()

import modelramp.cli  # noqa: E402
import modelramp.logs  # noqa: E402
import modelramp.process  # noqa: E402
import modelramp.settings  # noqa: E402, F401
