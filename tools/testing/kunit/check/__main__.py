# SPDX-License-Identifier: GPL-2.0
"""Starts `make check` and `make soak`: see command.py."""

import signal
signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback from half an import

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
from check.command import main
from lib.host import guarded

if __name__ == '__main__':
	sys.exit(guarded('make soak' if '--soak' in sys.argv else 'make check', main))
