# make run      the whole chain on this machine (six to ten minutes on two cores, after the installation)
# make test     the test suite                make lint    style, layers and types
# make serve    the released model behind an OpenAI-compatible API and a chat page
# make up       Prefect, MLflow, a worker and the deployments

PYTHON ?= python3
PRESET ?= poet
BIN := .venv/bin

.PHONY: run plan test lint serve up bench-corpus bench-pretrain bench-quantize bench-serve soak-serve
.DELETE_ON_ERROR:

run: .venv/installed
	$(BIN)/fullchain run $(PRESET)

plan: .venv/installed
	$(BIN)/fullchain plan $(PRESET)

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m mypy

serve: .venv/installed
	$(BIN)/fullchain serve models:/$(PRESET)@champion

up: .venv/installed
	$(BIN)/fullchain up

# Against stock datatrove; reads packages of text. About 25 minutes with the memory on 500 MB.
bench-corpus: .venv/installed .venv-bench/corpus-installed
	$(BIN)/python -m bench.corpus
	$(BIN)/python -m bench.corpus_extract
	$(BIN)/python -m bench.corpus_memory

.venv-bench/corpus-installed: requirements-bench-corpus.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench-corpus.txt
	touch $@

# Needs the preset `smollm2` to have run until quantize; LLAMA_QUANTIZE=PATH adds llama.cpp's own Q4_0 and Q4_K_M.
bench-quantize: .venv/installed
	$(BIN)/python -m bench.quantize

bench-pretrain: .venv/installed .venv-bench/pretrain-installed
	$(BIN)/python bench/pretrain.py .venv-bench/bin/python

# litgpt asks for an older torch than it needs.
.venv-bench/pretrain-installed: requirements-bench-pretrain.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench-pretrain.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps litgpt==0.5.13
	touch $@

bench-serve: .venv/installed .venv-bench/serve-installed .venv-bench/llama.cpp/build/bin/llama-server
	$(BIN)/python -m bench.serve

# Ten minutes of good and hostile clients; MINUTES=1 for a look.
soak-serve: .venv/installed
	$(BIN)/python -m bench.soak --minutes $(or $(MINUTES),10)

.venv-bench/serve-installed: requirements-bench-serve.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench-serve.txt
	touch $@

# llama.cpp for this processor, from the source package that pip knows (several minutes).
.venv-bench/llama.cpp/build/bin/llama-server: .venv-bench/serve-installed
	.venv-bench/bin/python -m pip download --quiet --no-deps --no-binary :all: --no-build-isolation \
		--dest .venv-bench llama-cpp-python==0.3.36 || test -f .venv-bench/llama_cpp_python-0.3.36.tar.gz
	tar -xzf .venv-bench/llama_cpp_python-0.3.36.tar.gz -C .venv-bench
	ln -sfn llama_cpp_python-0.3.36/vendor/llama.cpp .venv-bench/llama.cpp
	.venv-bench/bin/cmake -S .venv-bench/llama.cpp -B .venv-bench/llama.cpp/build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
		-DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DBUILD_SHARED_LIBS=OFF
	.venv-bench/bin/cmake --build .venv-bench/llama.cpp/build --target llama-server llama-quantize --parallel 2

# Installs again when the lock or the project's own description changed.
.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@
