#!/usr/bin/env bash
# From video files to a model that retrieves, classifies and writes captions, on a fresh machine: creates .venv,
# installs, generates clips with audio and captions, builds a corpus, pretrains, fine-tunes, evaluates, and writes
# runs/quickstart/report.html and runs/quickstart_finetuned/report.html.
# Run it again to continue where it stopped.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

started=$SECONDS
step() { echo; echo "── [$1/5] $2 (after $((SECONDS - started)) s)"; }

clips=corpora/quickstart/clips
corpus=corpora/quickstart/shapes

step 1 "generating sounding shapes: mp4 files with sound and captions"
mmvideo data shapes "$clips" --train 3000 --test 256 --difficulty 0.1 --seed 0

step 2 "building the corpus and its tokenizer"
mmvideo data build "$clips" "$corpus" --tokenizer-vocabulary 256

step 3 "pretraining on video, sound and text, then evaluating"
mmvideo train configs/quickstart/shapes.py --workdir runs/quickstart

step 4 "fine-tuning to classes, captions and retrieval, then evaluating"
mmvideo train configs/quickstart/finetune.py --workdir runs/quickstart_finetuned

step 5 "done"
echo "open runs/quickstart/report.html and runs/quickstart_finetuned/report.html in a browser"
