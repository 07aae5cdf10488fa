# SPDX-License-Identifier: GPL-2.0
"""`make check` and `make soak`: everything that can be tested."""
