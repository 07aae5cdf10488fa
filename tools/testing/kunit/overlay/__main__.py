# SPDX-License-Identifier: GPL-2.0
"""Starts what command.py names."""

import signal
signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback from half an import

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
from lib.host import guarded
from overlay.command import main

if __name__ == '__main__':
	sys.exit(guarded(' '.join(['make', *sys.argv[1:2]]), main))
