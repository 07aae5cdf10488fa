# SPDX-License-Identifier: GPL-2.0
"""Unit tests of all rooms, run by `make check-python`."""
