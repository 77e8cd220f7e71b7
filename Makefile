# Everything a newcomer or a developer runs. `make` alone says what there is.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# By a path: a clone named tfllm would else be found, from the folder it stands in, before the package in it.
EDITABLE := --config-settings editable_mode=compat

.DEFAULT_GOAL := help
.PHONY: help demo test test-distributed lint parity slow bench clean

help: ## say what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

demo: .venv/installed ## train a small model on Python's own library, export it, ask it: 6 to 9 minutes on 2 cores (20 without AVX-512)
	$(BIN)/python training/pretrain_causal_mini.py

test: .venv/installed-test ## run every quick test: 15 to 21 minutes on 2 cores
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder  # most of a test's time is one core's

test-distributed: .venv/installed-test ## every layout of devices and workers, and the kills: 1 to 2 hours
	$(PYTEST) tests/distributed -m 'slow or not slow'

lint: .venv/installed-test ## format, lint, types and import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	awk '/^```/ { code = /python/; print ""; next } { print code ? $$0 : "" }' README.md > .venv/readme.py && $(BIN)/mypy .venv/readme.py
	$(BIN)/lint-imports

parity: .venv/installed-parity ## compare live with Hugging Face in PyTorch
	$(PYTEST) -m parity

slow: .venv/installed-test ## heavy checks
	$(PYTEST) -m slow

bench: .venv/installed-bench ## measure beside the peers, all of it: hours, on a machine that does nothing else
	for shape in gpt-mini gpt2-small bert-mini bert-base; do for precision in float32 mixed_bfloat16; do \
		$(BIN)/python benchmarks/training_step.py --shape $$shape --precision $$precision || exit 1; done; done
	$(BIN)/python benchmarks/training_step.py --shape gpt-nano --steps 50 --contenders tfllm torch_eager nanogpt
	$(BIN)/python benchmarks/passes.py
	for precision in float32 mixed_bfloat16; do \
		for what in gpt-mini gpt2-small bert-mini; do $(BIN)/python benchmarks/ablation.py $$what $$precision || exit 1; done; \
		for what in gpt-mini gpt2-small bert-base; do $(BIN)/python benchmarks/op_times.py $$what $$precision || exit 1; done; done
	$(BIN)/python benchmarks/ablation.py decoding
	for what in decoding-int8 decoding-prepack; do $(BIN)/python benchmarks/ablation.py $$what --no-settings || exit 1; done
	for form in plain prepack int8; do for batch in 1 8; do \
		$(BIN)/python benchmarks/op_times.py decoding --form $$form --batch $$batch || exit 1; done; done
	$(BIN)/python benchmarks/vocabulary_memory.py
	$(BIN)/python benchmarks/few_rows.py
	$(BIN)/python benchmarks/low_precision.py
	$(BIN)/python benchmarks/decoding.py --model gpt2-small
	$(BIN)/python benchmarks/decoding.py --model llama-135m --contenders tfllm tfllm_saved tfllm_saved_packed tfllm_saved_int8 \
		limits torch llama_cpp llama_cpp_q8_0 keras_hub  # all others beside them do not fit 24 GB
	$(BIN)/python benchmarks/speculative.py
	$(BIN)/python benchmarks/tokenization.py
	$(BIN)/python benchmarks/bulk.py
	$(BIN)/python benchmarks/data_pipeline.py
	$(BIN)/python benchmarks/distribution.py
	$(BIN)/python benchmarks/start_up.py

clean: ## remove the environment and what was built
	rm -rf .venv build *.egg-info

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: setup.cfg pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(EDITABLE) -e .
	@touch $@

.venv/installed-%: setup.cfg pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(EDITABLE) -e '.[$*]'
	@touch $@
