# make demo   analyses data_samples/ and prints where the report page lies
# make test   runs the tests
# make coverage  the same, and which lines they do not reach
# make docs   builds the documentation into out/site, with the reports of the samples and a notebook that is run
# make release  builds source archive, wheel, list of licences and bill of materials into dist/, and tries the wheel
# All but the last make the virtual environment and install what is missing. PYTHON and VENV may be set from outside.

PYTHON ?= python3
VENV ?= .venv
OUT ?= out/demo
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
INPUTS = pyproject.toml constraints.txt scripts/install_system.sh

.PHONY: demo test coverage docs lint release clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(VENV)/bin/vertecast analyze data_samples --out $(OUT)

# The tests of whole programs and servers wait much, so they run beside the others; their output follows at the end.
PYTEST = $(VENV)/bin/python -m pytest --durations=20 --durations-min=5
PROGRAMS = tests/service tests/report tests/run tests/cli tests/study tests/core $(wildcard tests/test_*.py)
PARTS = tests/io tests/segmentation tests/measurement tests/lab

test: $(VENV)/.installed-dev
	@COVERAGE_FILE=.coverage.programs $(PYTEST) $(PROGRAMS) >.programs.log 2>&1 & programs=$$!; \
	COVERAGE_FILE=.coverage.parts $(PYTEST) $(PARTS); parts=$$?; \
	wait $$programs; programs=$$?; cat .programs.log; rm .programs.log; \
	test $$parts -eq 0 && test $$programs -eq 0

# Counting lines makes the tests a fifth slower.
coverage: PYTEST += --cov --cov-report=
coverage: test
	$(VENV)/bin/coverage combine --quiet && $(VENV)/bin/coverage report --skip-covered

docs: $(VENV)/.installed-dev demo
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

release:
	PYTHON=$(PYTHON) TORCH_CPU_INDEX=$(TORCH_CPU_INDEX) sh scripts/release.sh

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy --strict
	$(VENV)/bin/lint-imports

# The CPU build of torch comes from its own index and is several GB smaller; where that index cannot be reached,
# the next step takes torch from the usual one.
$(VENV)/.venv-made: $(INPUTS)
	PYTHON=$(PYTHON) sh scripts/install_system.sh
	$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --retries 0 --timeout 20 --no-deps -c constraints.txt --index-url $(TORCH_CPU_INDEX) torch \
		|| echo "make: $(TORCH_CPU_INDEX) cannot be used here; torch comes from the usual index"
	touch $@

$(VENV)/.installed: $(VENV)/.venv-made
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.venv-made
	PYTHON=$(PYTHON) sh scripts/install_system.sh test
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) out dist build
