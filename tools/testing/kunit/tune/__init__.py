# SPDX-License-Identifier: GPL-2.0
"""`make tune`: watermarks that suit a workload, by experiment."""
