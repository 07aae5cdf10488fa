# SPDX-License-Identifier: GPL-2.0
"""`make record`: allocation patterns of real workloads, as traces."""
