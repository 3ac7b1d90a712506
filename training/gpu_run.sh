#!/usr/bin/env bash
# One GPU: the nano reproduction. Usage: training/gpu_run.sh SITE MODEL OUT
#   SITE   folder with the unpacked packages (pip install --no-index --no-deps --target SITE wheels/*.whl)
#   MODEL  folder with a model, or with one GGUF file and nothing else of that kind
# Sizes by environment: NANO_S (seconds for training and tests), NANO_ARGS (further flags of training.nano).
set -uo pipefail
cd "$(dirname "$0")/.."
site=$1 model=$2 out=$3
mkdir -p "$out"
export PYTHONPATH="$PWD:$site" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
budget=${NANO_S:-400}
# shellcheck disable=SC2086
timeout "$((budget + 150))" python3 -m training.nano --model "$model" --out "/tmp/nano" --budget-s "$budget" \
  --device "${NANO_DEVICE:-cuda}" ${NANO_ARGS:-} >"$out/nano.log" 2>&1
echo "nano: exit $?" | tee "$out/nano.exit"
cp /tmp/nano/log.jsonl "$out/nano.jsonl" 2>/dev/null
cp /tmp/nano/curve.html "$out/nano.html" 2>/dev/null
tail -3 "$out/nano.log"
