# Two commands are the whole set-up: make demo, make test.
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
ARCHIVE ?= model_store/tensormask.mar
MODEL ?=
OPTIONS ?=
# TORCH=cpu: torch without CUDA, which only PyTorch's own index has for Linux
TORCH ?=
ifneq ($(filter-out cpu,$(TORCH)),)
$(error TORCH is $(TORCH); expected TORCH=cpu, or no TORCH for the torch of the package index)
endif
TORCH_INDEX = $(if $(TORCH),--extra-index-url https://download.pytorch.org/whl/cpu)
INSTALL = $(BIN)/pip install --constraint constraints.txt $(TORCH_INDEX)
# Three files of tests at a time on two cores: they wait for servers as long as they compute. They start in the order of
# their names, tests/served before tests/unit. By default those with few tests, which take longest, would start last.
PYTEST = pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder
REQUESTS = bad_requests client connections evaluate forms formats gateway hostile_requests image_files image_kinds \
	inference_clients integrations large_images metrics openapi request_log responses
REQUEST_TESTS = $(REQUESTS:%=tests/served/test_%.py)
SIZE = $(if $(TORCH),About 1.2 GB on disk.,About 5.5 GB on disk where torch is for CUDA. 1.2 GB by make demo TORCH=cpu.)

.PHONY: demo serve check test test-all coverage test-openvino attack fuzz chaos soak hosts lint openapi audit try-image bench clean

demo: $(VENV)/.serve
	$(BIN)/python -m demo

# exec: SIGTERM, which make passes on, has to reach the server and not a shell around it
serve: $(VENV)/.serve
	@echo "With other options: make serve OPTIONS='-p 9000'. All options: make serve OPTIONS=--help"
	exec $(BIN)/tensormask-server $(if $(MODEL),--model "$(MODEL)",--archive "$(ARCHIVE)") $(OPTIONS)

# The linters, and the unit tests but the slow ones: what to run after each change.
check: lint
	$(BIN)/python -m $(PYTEST) -m 'not extensive and not slow' tests/unit

# What a user relies on. A file is one worker's, so that what its tests share is started once.
test: $(VENV)/.dev
	$(BIN)/python -m $(PYTEST) -m 'not extensive' --durations 20

# Everything: make test, and then what needs a browser, nginx, HAProxy, a wheel, or patience.
test-all: test
	$(BIN)/python -m $(PYTEST) -m extensive --durations 20

# make test, and which lines and branches of the package it ran, in the servers that it started as well.
coverage: $(VENV)/.dev
	rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/coverage run -m $(PYTEST) -m 'not extensive'
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The tests of requests with a server of the engine openvino in the place of the native one.
test-openvino: $(VENV)/.dev
	ENGINE=openvino $(BIN)/python -m $(PYTEST) -m 'not extensive' $(REQUEST_TESTS) $(OPTIONS)

# What SECURITY.md names: each attack, and whether the server held. With THROUGH_GATEWAY=1 the requests of this target and
# of the next three go through the gateway: make attack THROUGH_GATEWAY=1
attack: $(VENV)/.dev
	$(BIN)/python -m $(PYTEST) -m attack $(OPTIONS)

fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(OPTIONS)

# Faults with real processes, and 5,000 requests: several minutes each.
chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos

soak: $(VENV)/.dev
	$(BIN)/python -m tests.chaos.soak $(OPTIONS)

# Four hosts as network namespaces behind HAProxy, as root, in a namespace of its own: nothing of it is left.
hosts: $(VENV)/.dev
	unshare --net --mount $(BIN)/python -m tests.hosts $(OPTIONS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[bf]*.yml

# docs/openapi.yaml, and the table of options in docs/REQUESTS.md, from the code.
openapi: $(VENV)/.serve
	$(BIN)/python -m tensormask_server.openapi --write docs

# in an environment of its own: pip-audit brings twenty packages that nothing else here needs
audit:
	test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install --quiet pip-audit==2.10.1; }
	$(VENV)/audit/bin/python deploy/audit.py

# The image built and run by podman, as root; minutes.
try-image: $(VENV)/.serve
	deploy/try_image.sh image

bench: $(VENV)/.bench
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build logs demo/output model_store/*.mar *.egg-info handler/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installed again only when what is to be installed has changed.
$(VENV)/.serve: pyproject.toml setup.py constraints.txt Makefile
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("$(PYTHON) is older than 3.11; name another: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "Fetches torch, TorchServe, Java and what they need into $(VENV), unless they are there. $(SIZE)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[serve,gateway]'
	touch $@

$(VENV)/.bench: $(VENV)/.serve
	$(INSTALL) --quiet --editable '.[serve,gateway,train,bulk,export,bench]'
	touch $@

# KServe's SDK apart and without what it needs: its published types are read, its server isn't wanted.
# trackers without its opencv-python, which replaces the headless one and wants libGL.
$(VENV)/.dev: $(VENV)/.serve
	$(INSTALL) --quiet --editable '.[serve,gateway,train,bulk,export,heic,dev]'
	$(BIN)/pip install --quiet --upgrade --no-deps --target $(VENV)/types kserve==0.21.0
	$(INSTALL) --quiet --no-deps trackers
	touch $@
