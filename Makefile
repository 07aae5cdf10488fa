# SPDX-License-Identifier: GPL-2.0-only
#
# Targets of this project. The kernel's own Makefile is in the assembled tree.

PYTHON := python3 -B
TOOL := tools/testing/kunit

# Options and variables of this make are not meant for the kernel's.
unexport MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
export KSRC FORCE

CHECKS := check-python check-model check-uml check-x86_64 check-shards check-kasan check-lint
MORE_CHECKS := check-numa check-up check-newest

TIME ?= 10m

.PHONY: help tree install compile_commands.json check $(CHECKS) $(MORE_CHECKS) soak selftests bench bench-compare tune record clean

help: ## Show this list
	@echo 'Run every suite:  ./$(TOOL)/kunit.py run'
	@echo
	@echo 'Targets:'
	@sed -n 's/^\([a-z0-9_.-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 26
	@echo
	@echo 'KSRC=/path/to/linux uses that tree (6.12, 7.2, 7.3 or one that their patches fit)'
	@echo 'as the base, KSRC=newest the newest kernel source that Debian carries. Without'
	@echo 'it the base is the Debian package linux-source-6.12. What is missing is'
	@echo 'installed with apt where root or passwordless sudo allows.'

tree: ## Assemble base and overlay; the last line is the path of the tree
	@$(PYTHON) $(TOOL)/overlay tree

install: ## Copy the overlay into your own git tree: KSRC=/path [FORCE=1]
	@$(PYTHON) $(TOOL)/overlay install

compile_commands.json: ## How each file is compiled, for clangd; builds a kernel
	@$(PYTHON) $(TOOL)/overlay $@

check: ## All tests there are; the last line is the sum
	@$(PYTHON) $(TOOL)/check

check-python: ## Unit tests of our Python, and mypy
check-model: ## The model of the magazine layer, in Spin
check-uml: ## The suites on User-Mode Linux
check-x86_64: ## The suites on x86_64 with 4 CPUs and lock debugging, in QEMU
check-shards: ## As check-x86_64, with a shard for each CPU
check-kasan: ## The suites on User-Mode Linux with KASAN
check-lint: ## shellcheck, checkpatch on files and commits, sparse

check-numa: ## As check-x86_64, with two nodes of memory
check-up: ## The suites on x86_64 without SMP, with true NMIs
check-newest: ## The suites on User-Mode Linux, 1 and 2 CPUs, on KSRC=newest

$(CHECKS) $(MORE_CHECKS): check-%:
	@$(PYTHON) $(TOOL)/check $*

soak: ## Everything at once on x86_64, for TIME=10m
	@$(PYTHON) $(TOOL)/check --soak '$(TIME)'

selftests: ## The tree's BPF selftests in QEMU, base and ours, as a table (long)
	@$(PYTHON) $(TOOL)/selftests

bench: ## Ours beside the base's allocator and others: tables, bench.json, bench.html
	@$(PYTHON) $(TOOL)/bench $(MODE)

bench-compare: ## What differs between two bench.json: A=old.json B=new.json
	@$(PYTHON) $(TOOL)/bench --compare '$(A)' '$(B)'

tune: ## Find watermarks by experiment; ARGS=--help tells more
	@$(PYTHON) $(TOOL)/tune $(ARGS)

record: ## Record the traces that make tune replays, anew, in QEMU (long)
	@$(PYTHON) $(TOOL)/record run

clean: ## Remove build/: base, trees, kernel builds
	rm -rf build
