# SPDX-License-Identifier: GPL-2.0
"""From a base and our files to a tree that can be built; imports lib alone."""
