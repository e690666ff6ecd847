# make synth     the CloudFormation of the platform, in cdk.out        PROFILE=walkthrough, ARGS='-c cluster.name=...'
# make test      the fast suite
# make rehearse  deploys cdk.out on this machine and plays the GPU story        PROFILE, ARGS, OPTIONS='--story scale --keep --follow'
# make prove     rehearsals of both profiles, every form of cluster, stacks broken on purpose, killed and stopped        OPTIONS='-k walkthrough'
# make check     format, lint, types, architecture, fast suite, templates, docs site, wheels
# make bench     the figures of docs/benchmarks.md, measured here
# make conformance   our evaluator of IAM policies against another one, over some 20,000 generated requests
# make mutants   breaks one thing at a time where it would do most harm; a test must fail        OPTIONS='drain --sample 40'
# make oldest    the fast suite with the oldest dependencies that both pyproject.toml allow
# make release   both distributions as they go to PyPI, in dist/        PROJECT_URL=https://github.com/OWNER/NAME
# make docs      the generated pages of docs/
PYTHON ?= python3
PROFILE ?= default
ARGS ?=
OPTIONS ?=
BIN := .venv/bin
CDK := $(BIN)/cdk

.DEFAULT_GOAL := synth
.PHONY: synth test rehearse prove conformance check format lint types architecture templates wheel site docs bench clean
.PHONY: mutants oldest release try-wheels
# No telemetry, no notices: nothing but the registries at set-up is ever asked.
export CDK_DISABLE_CLI_TELEMETRY := true
# The CDK is installed without bytecode, which is then written for the modules that are used.
unexport PYTHONDONTWRITEBYTECODE

synth: .venv/.synth
	@rm -rf cdk.out
	@$(CDK) synth --quiet -c profile=$(PROFILE) $(ARGS)
	@echo "cdk.out holds the template, EksGpuStack.template.json, and its assets"

# A file at a time, because what a file's tests synthesize or start is theirs together.
test: .venv/.dev
	@$(BIN)/pytest --numprocesses auto --dist loadfile

# What was synthesized, and the stories on it; the report is rehearsal.html. The first run builds the real programs.
rehearse: .venv/.rehearsal synth
	@$(BIN)/eks-rehearse cdk.out $(OPTIONS)

# The slow proof: whole rehearsals of both profiles and every form of cluster, of stacks that are broken on purpose, killed and
# stopped. Two at a time, because a rehearsal waits for most of its time.
prove: .venv/.dev
	@$(BIN)/pytest -m rehearsal --numprocesses 2 tests/rehearsal $(OPTIONS)

# Another evaluator, which is AGPL and for comparing alone, is installed beside the tests.
conformance: .venv/.dev
	@cd tests/conformance && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --no-audit --no-fund --loglevel=error
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -m conformance -s tests/conformance

check: format lint types architecture test templates site wheel

format: .venv/.dev
	$(BIN)/ruff format --check .

lint: .venv/.dev
	$(BIN)/ruff check .

# The package, and then what a user sees of it: by mypy and by pyright.
types: .venv/.dev
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/typing/mypy.ini tests/typing/accepted.py tests/typing/refused.py
	$(BIN)/basedpyright --project tests/typing --pythonpath $(BIN)/python

architecture: .venv/.dev
	$(BIN)/lint-imports --no-cache

# Every profile through the real CLI, with its validator and cdk-nag, and then cfn-lint on what came out.
templates: .venv/.dev
	@for profile in default walkthrough; do \
		echo "$$profile: cdk synth, cdk-nag, cfn-lint"; \
		$(CDK) synth --quiet -c profile=$$profile --output cdk.out/check-$$profile || exit 1; \
		$(BIN)/cfn-lint cdk.out/check-$$profile/*.template.json || exit 1; \
	done
	@echo "every shape of the tests: cfn-lint"
	@CDK_VALIDATION=false $(BIN)/python -m tests.shapes cdk.out/shapes 2>/dev/null
	@$(BIN)/cfn-lint cdk.out/shapes/*.template.json

# Both wheels, each from its own sdist, and looked at where they are installed.
wheel: .venv/.dev
	@$(BIN)/python release/build.py --draft
	@$(BIN)/python -m pip install --quiet --no-deps --no-compile --target dist/installed dist/*.whl
	@cd dist/installed && PYTHONPATH=. ../../$(BIN)/python -c "import karpenter_gpu as k; print(k.__file__); k.GpuPool(name='a', gpu_names=('l4',), gpu_limit=1); k.EksGpuStack"
	@cd dist/installed && PYTHONPATH=. ../../$(BIN)/python -c "import eks_rehearsal.command as c; print(c.__file__)"
	@cd dist/installed && ls karpenter_gpu/py.typed karpenter_gpu/cdk/functions/drain.py karpenter_gpu/cdk/functions/attach.py \
		eks_rehearsal/py.typed eks_rehearsal/watchdog.py eks_rehearsal/named.py eks_rehearsal/cluster/kubelet.yaml eks_rehearsal/functions/runtime_node.mjs \
		eks_rehearsal/report/report.html.jinja eks_rehearsal/existing_cluster.schema.json >/dev/null

release: .venv/.dev
	@PROJECT_URL="$(PROJECT_URL)" $(BIN)/python release/build.py

# What a user does first, in an empty environment: both wheels of dist/ with all they need, the README's lines, and a rehearsal's beginning.
try-wheels: .venv/.dev
	@$(BIN)/python release/try_wheels.py

mutants: .venv/.dev
	@$(BIN)/python -m tests.mutants $(OPTIONS)

oldest: .venv/.dev
	@$(BIN)/python release/oldest.py

# The docs site, in site/; a warning is an error.
site: .venv/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs: .venv/.dev
	$(BIN)/python docs/generate.py

bench: .venv/.bench
	$(BIN)/python benchmarks/bench.py

clean:
	rm -rf .venv node_modules cdk.out dist site

# The environment, made once, and again when a file that says what is in it changes.
.venv/.synth: requirements.txt package-lock.json pyproject.toml eks_rehearsal/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is older than Python 3.10; name a newer one: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv: the CDK, its kubectl layers and Node.js (1 GB on disk, once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check --no-compile --progress-bar on -q -r requirements.txt
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --editable . --editable ./eks_rehearsal
	@$(BIN)/npm ci --no-audit --no-fund --loglevel=error
	@printf '#!/bin/sh\n# The pinned CDK CLI on the Node.js of this environment.\nPATH="%s:$$PATH"; export PATH\nexec node "%s" "$$@"\n' "$(CURDIR)/$(BIN)" "$(CURDIR)/node_modules/aws-cdk/bin/cdk" > $(CDK)
	@chmod +x $(CDK)
	@touch $@

.venv/.rehearsal: .venv/.synth requirements-rehearsal.txt
	@echo "Adding the emulated AWS and the Go toolchain to .venv"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-compile -q -r requirements-rehearsal.txt
	@touch $@

.venv/.dev: .venv/.rehearsal requirements-dev.txt
	@echo "Adding what tests and checks need to .venv"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-compile -q -r requirements-dev.txt
	@touch $@

.venv/.docs: .venv/.dev requirements-docs.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --no-compile -q -r requirements-docs.txt
	@touch $@

.venv/.bench: .venv/.dev requirements-bench.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --no-compile -q -r requirements-bench.txt
	@touch $@
