#!/bin/sh
# Makes the shipped spoof detector from nothing: data, four trainings, report, package files.
# Usage: training/spoof/make_model.sh [PYTHON]   (an interpreter with vivavoce and requirements.txt)
set -eu
cd "$(dirname "$0")/../.."
python=${1:-python}
work=build/spoof
export PYTHONPATH=src:. OMP_NUM_THREADS=1

"$python" -m training.spoof.prepare --work "$work"
for model in final classical "flow and GAN" autoregressive; do
  "$python" -m training.spoof.train --work "$work" --model "$model"
done
"$python" -m training.spoof.evaluate --work "$work" --report bench/results/spoof-v1.md
"$python" -m training.spoof.ship --work "$work"
