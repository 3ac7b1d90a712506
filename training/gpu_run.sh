#!/usr/bin/env bash
# One GPU: the nano reproduction. Usage: training/gpu_run.sh SITE MODEL OUT
#   SITE   folder with the unpacked packages (pip install --no-index --no-deps --target SITE wheels/*.whl)
#   MODEL  folder with a model, or with one GGUF file and nothing else of that kind
# A run that was killed goes on when this is called again with the same OUT.
# Sizes by environment: NANO_S (seconds for training and tests), NANO_ARGS (further flags of training.nano).
set -uo pipefail
cd "$(dirname "$0")/.."
site=$1 model=$2 out=$3
mkdir -p "$out"
export PYTHONPATH="$PWD:$site" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
budget=${NANO_S:-400}
resume=$([ -f "$out/run/state.json" ] && echo --resume)
# shellcheck disable=SC2086
timeout "$((budget + 150))" python3 -m training.nano --model "$model" --out "$out/run" --budget-s "$budget" \
  --device "${NANO_DEVICE:-cuda}" $resume ${NANO_ARGS:-} >>"$out/nano.log" 2>&1
echo "nano: exit $?" | tee "$out/nano.exit"
tail -3 "$out/nano.log"
