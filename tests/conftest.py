"""What every test relies on."""

from __future__ import annotations

import signal

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process they start: those
# that test what Ctrl-C does would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
