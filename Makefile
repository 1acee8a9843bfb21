# make train   environment, training on the embedded data set, detection, ONNX export; flags: make train ARGS="--epochs 5"
# make test    environment with the developer's tools, then every check that CI runs
# make fix     format and repair what ruff can
# make bench   the speed ratios of the README, measured on this machine

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
# Settings for two CPU cores; every one can be overridden through ARGS.
DEMO   := --cfg models/yolov5s-emo.yaml --imgsz 224 --batch-size 4 --epochs 24

.PHONY: train test slow fix bench clean

train: $(VENV)/.runtime
	$(BIN)/python train.py $(DEMO) $(ARGS)
	$(BIN)/python detect.py --source data/images
	$(BIN)/python export.py --include onnx
	@echo
	@echo "Done. Curves, tables and weights: the newest folder of runs/train; drawn pictures: the newest of runs/detect;"
	@echo "the ONNX file lies beside best.pt. Next: python train.py --cfg models/yolov5s-emo.yaml --data your.yaml"

test: $(VENV)/.developer
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

slow: $(VENV)/.developer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m slow $(ARGS)

fix: $(VENV)/.developer
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.developer
	@for script in tools/bench_*.py; do echo "== $$script"; $(BIN)/python -m tools.$$(basename $$script .py) || exit 1; done

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "error: $(PYTHON) is older than Python 3.10; run make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.developer: requirements.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $(VENV)/.runtime $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
