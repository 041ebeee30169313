#!/bin/sh
# Makes the shipped spoof detector from nothing: data, trainings, report, package files.
# Usage: training/spoof/make_model.sh [PYTHON]   (an interpreter with vivavoce and requirements.txt)
set -eu
cd "$(dirname "$0")/../.."
python=${1:-python}
work=build/spoof
export PYTHONPATH=src:. OMP_NUM_THREADS=1 VIVAVOCE_OPUS_BUILD="$PWD/build/opus"
# Memory that PyTorch frees is kept for its next step: giving it back takes a third of the time.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=17179869184

test -x build/opus/fargan_demo || training/spoof/fetch_opus.sh "$PWD/build/opus"
"$python" -m training.spoof.neural --work "$work" --vocoder fourier --minutes 16 & beside=$!
"$python" -m training.spoof.neural --work "$work" --vocoder upsampling --minutes 16
wait "$beside"
"$python" -m training.spoof.conversion --work "$work"
"$python" -m training.spoof.prepare --work "$work"
"$python" -m training.spoof.embed --work "$work"
for model in final flite festival espeak-ng MaryTTS Pico Hibari Glow-TTS DiffGAN-TTS Piper Kokoro \
  Tortoise WaveNet TensorFlowTTS; do
  "$python" -m training.spoof.train --work "$work" --model "$model"
done
for table in scores strange enrolled turns; do
  "$python" -m "training.spoof.$table" --work "$work"
done
"$python" -m training.spoof.calibrate --work "$work"
"$python" -m bench.spoofing --work "$work" > bench/results/spoofing.md
"$python" -m bench.spoofing_joint --work "$work" > bench/results/spoofing_joint.md
"$python" -m training.spoof.ship --work "$work"
