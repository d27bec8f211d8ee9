# `sudo make run` and `sudo make test` set up what is missing; see README.md.

PYTHON ?=
PYTEST_ARGS ?= -n 2 --dist worksteal --durations=30 --durations-min=4
export PYTHON

.PHONY: run test test-slow test-exec test-points test-install test-engines test-machine score chaos soak bench dist venv test-tools lint clean

run:
	@scripts/venv.sh runtime
	@scripts/plugins.sh
	@exec .venv/bin/dockercni daemon --attach-running

test: venv test-tools
	.venv/bin/python -m pytest $(PYTEST_ARGS) -m "not slow and not point and not install" tests

# Native plugins beside the executables; every way of starting, in numbers; death at every sixth step of ADD and DEL.
test-slow: venv test-tools
	.venv/bin/python -m pytest $(PYTEST_ARGS) -m slow tests

# What needs an engine, with every plugin as an executable; `make test` has in the process what can be there.
test-exec: venv test-tools
	DOCKERCNI_BACKEND=exec .venv/bin/python -m pytest $(PYTEST_ARGS) -m "not slow and not point and not install" tests/engine

# Death between every two steps of ADD, DEL and roll-back, each point visited.
test-points: venv test-tools
	.venv/bin/python -m pytest $(PYTEST_ARGS) -m "slow or point" tests/chaos/test_crash_points.py

# Packages and sidecar, on Debian hosts of their own with systemd and an engine. Debian is downloaded once, and kept in
# the directory KEEP, ~/.cache/dockercni-tests without one.
test-install: venv test-tools
	@scripts/install-tools.sh
	.venv/bin/python -m pytest -n 0 -m install tests/install

# The tests of starts, engine, units and packages on newer Debians: systemd's driver, cgroup v2, both image stores.
# ENGINES="-k trixie" chooses one of them; TEST_STARTS=few and ENGINES="-m short" are the quick form.
test-engines: venv test-tools
	@scripts/install-tools.sh
	.venv/bin/python -m pytest -n 0 $(or $(ENGINES),-m install) tests/machines

# One whole machine, emulated by software alone (an hour): AppArmor, SELinux, all controllers, real reboots, runc and crun,
# both image stores. By hand, and not in CI. MACHINE="-k crun" chooses tests. The disk is made once, and kept in KEEP.
test-machine: venv test-tools
	@scripts/install-tools.sh machine
	.venv/bin/python -m pytest -n 0 -m machine $(MACHINE) tests/emulated

# Break every key of every built-in plugin on purpose: some case has to notice.
score: venv test-tools
	.venv/bin/python -m tests.differential.score -n 2

# One long chaos run and one long soak; a short one of each is part of `make test`.
chaos: venv test-tools
	.venv/bin/python -m tests.chaos --seed $(or $(SEED),1) --faults $(or $(FAULTS),1000) $(addprefix --backend ,$(BACKEND))

bench: venv test-tools
	@missed=0; for part in plugins engine; do .venv/bin/python -m tests.bench.$$part || missed=1; done; exit $$missed

soak: venv test-tools
	.venv/bin/python -m tests.chaos.soak --cycles $(or $(CYCLES),5000)

# Wheel, source distribution and Debian package, in dist.
dist: venv
	@scripts/dist.sh

venv:
	@scripts/venv.sh dev

test-tools:
	@scripts/test-tools.sh

lint: venv
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	PYTHONPATH=. .venv/bin/lint-imports

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
