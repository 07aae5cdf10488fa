# SPDX-License-Identifier: GPL-2.0
"""`make bench`: what everything costs, beside other allocators."""
