"""MERLOT-Reserve-style spans: masked spans of audio are matched with the frames, text and audio around them.

COMMAND  mmvideo train configs/pretrain/merlot_reserve.py --workdir runs/merlot_reserve
TINY     mmvideo train configs/pretrain/merlot_reserve.py:tiny
COST     9.8e+20 FLOPs with dense attention (mmvideo plan): 4 days on 8 GPUs at 400 TFLOP/s each
DATA     YT-Temporal-1B: frames, audio and transcripts of long videos, 40 s per clip
EXPECTS  no comparable result: MERLOT Reserve is evaluated by fine-tuning on VCR, and this recipe follows only its style

SOURCE   paper: Zellers et al. 2022, arXiv 2201.02639. Code: rowanz/merlot_reserve, pretrain/configs/base.yaml,
         pretrain/pretrain_model.py, pretrain/optimization.py.
  tokens        8 segments of 5 s, each with one frame and three spans of audio, 60 rows of 64 mel bins at 22,050 Hz
                (windows of 1536 samples every 588); 160 text tokens; a quarter of the spans masked.
  model         Base: 12 layers for frames, 12 for audio, 4 for spans of text, 12 for all together, width 768; rotary
                positions.
  objectives    contrastive matching of masked audio spans, of frames with their audio, and of masked text, each with a
                learned scale of at most 100.
  optimiser     AdamW (0.9, 0.98, 1e-6), 4e-4 after 3,750 steps, cosine to a fiftieth, weight decay 0.1, 750k steps with
                batch 1024, no clipping.

PAPER AND CODE DISAGREE
  rotary        the released positions differ from the paper's (a bug, according to a comment of the author); this
                recipe uses mmvideo's in either case.

DIFFERS HERE This recipe follows the style, not the system. A frame of 256 pixels has 8 x 8 patches of 32 (in the
  original 12 x 20 of 16, pooled by two); a span of audio is one token (6 in the original). Spans of text are not
  compared; masked text tokens are predicted instead. Frames are compared with the audio of the whole clip, not of their
  segment. A decoder of two layers after the joint encoder predicts the masked spans; in the original, mask tokens are
  inside the joint encoder. The targets of the spans know the rest of their audio.
"""

from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.media.config import MERLOT_RESERVE
from mmvideo.model.config import Block, Decoder, Fusion, Model, Sharing
from mmvideo.objectives import Contrastive, ContrastiveSpans, MaskedText
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="merlot_reserve",
    input=Input(
        sources=(Source("corpora/yt_temporal"),),
        video=Video(fps=0.2, frames=8, size=256, tubelet=(1, 32, 32), crop_scale=0.9),
        audio=Audio(seconds=40.0, spectrogram=MERLOT_RESERVE, patch=(60, 64)),
        text=Text(length=160, vocabulary=32_000),
        masking=Masking(audio=0.25, audio_kind="time", text=0.25),
        # 512 + 19 + 160 tokens: one clip per row.
        packing=Packing(rows=1024, tokens=696, clips=1),
    ),
    model=Model(
        size="B",
        depth=24,
        fusion=Fusion("mid", layer=12),
        sharing=Sharing(apart="nothing", fused="everything"),
        depths={"text": 4},
        block=Block(norm="layer", epsilon=1e-6, activation="gelu"),
        position="rotary",
        decoder=Decoder(depth=2, width=768, heads=12, sees="clip"),
    ),
    objectives={
        "spans": ContrastiveSpans(width=768, temperature=0.05, chunk=1024),
        "frames": Contrastive(pairs=("video-audio",), width=768, temperature=0.05),
        "masked_text": MaskedText(),
    },
    training=Training(
        steps=750_000,
        optimizer=Optimizer(
            name="adamw",
            learning_rate=4e-4,
            schedule="cosine",
            warmup=3_750,
            final_share=0.02,
            b1=0.9,
            b2=0.98,
            eps=1e-6,
            weight_decay=0.1,
            clip=None,
        ),
        log_every=100,
        save_every=7_500,
    ),
)

tiny = tiny_twin(experiment)
