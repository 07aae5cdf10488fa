# SPDX-License-Identifier: GPL-2.0
"""What every other room builds on; imports nothing but itself."""
