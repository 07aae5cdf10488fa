# SPDX-License-Identifier: GPL-2.0
"""`make selftests`: the tree's own BPF selftests, on the base and on ours."""
