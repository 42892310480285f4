"""VATT, modality-agnostic, Medium: one transformer for raw video, waveforms and text.

COMMAND  mmvideo train configs/pretrain/vatt_agnostic.py --workdir runs/vatt_agnostic
TINY     mmvideo train configs/pretrain/vatt_agnostic.py:tiny
COST     1.7e+21 FLOPs with dense attention (mmvideo plan): 6 days on 8 GPUs at 400 TFLOP/s each
DATA     HowTo100M and AudioSet; AudioSet has no text, so its clips take no part in the video-text pair
EXPECTS  fine-tuned: Kinetics-400 79.9 top-1, AudioSet 39.3 mAP; zero-shot MSR-VTT text to video 23.6 R@10

SOURCE   paper: Akbari et al. 2021, arXiv 2104.11178. Code: google-research/vatt, configs/{unified, dataset, head,
         loss, experiment}.py and modeling/{backbones/unified/uvatt, heads/bridge}.py.
  tokens        section 4.1 and dataset.py: 32 frames at 10 per second, 224 pixels, 4 x 16 x 16; 3.2 s at 48 kHz in
                patches of 128 samples; 16 words of 2^16. unified.py: half of the video and audio tokens are dropped.
  model         unified.py: Medium, 12 layers of width 1024, pre-norm, GELU, epsilon 1e-6; one class token per modality;
                learned positions in buckets of 8 + 14 + 14.
  objectives    section 3.4, head.py and loss.py: video with audio in 512 dimensions, video with text (MIL-NCE) in 256,
                temperature 0.07, both with weight 1. dataset.py: 4 sentences per clip.
  optimiser     experiment.py: Adam (0.9, 0.999, 1e-7), 500k steps with batch 2048, 1e-4 to 5e-5, no gradient clipping.

PAPER AND CODE DISAGREE
  warm-up       10k steps in the paper, 5k in the code: the code's is used here.
  schedule      a quarter of a cosine in the paper; half of one from 1e-4 to 5e-5 in the code: the code's is used here.

DIFFERS HERE Text is SentencePiece tokens with learned embeddings; VATT has fixed word2vec vectors of 300 dimensions and
  a dense layer. Each modality's projection to a common space is linear; VATT has two-layer heads with batch norm, which
  compare text with video through the audio space. Where a clip has several sentences, none has its own class token, so
  this pair uses the mean of the tokens. There is no dropout of 0.1, no layer norm on positions, no dense layer before
  and after the transformer. Crops keep at least half of the area.
"""

from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, DropToken, Input, Packing, Source, Text, Video
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Contrastive
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="vatt_agnostic",
    input=Input(
        sources=(Source("corpora/howto100m"), Source("corpora/audioset")),
        video=Video(fps=10.0, frames=32, size=224, tubelet=(4, 16, 16), crop_scale=0.5, flip=True, colour=0.4),
        audio=Audio(seconds=3.2, waveform=128, sample_rate=48000),
        text=Text(length=16, captions=4, vocabulary=2**16),
        drop_token=DropToken(video=0.5, audio=0.5),
        # 784 + 600 + 4 x 16 tokens: one clip per row.
        packing=Packing(rows=2048, tokens=1448, clips=1),
    ),
    model=Model(
        size="B",
        width=1024,
        heads=16,
        feed_forward=4096,
        fusion=Fusion("late"),
        sharing=Sharing(apart="everything"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu"),
        class_tokens=1,
        position="learned",
    ),
    objectives={
        "video_audio": Contrastive(
            pairs=("video-audio",), form="mil_nce", width=512, temperature=0.07, learned=False, pooling="class"
        ),
        "video_text": Contrastive(
            pairs=("video-text",), form="mil_nce", width=256, temperature=0.07, learned=False, pooling="mean"
        ),
    },
    training=Training(
        steps=500_000,
        optimizer=Optimizer(
            name="adamw",
            learning_rate=1e-4,
            schedule="cosine",
            warmup=5_000,
            final_share=0.5,
            b1=0.9,
            b2=0.999,
            eps=1e-7,
            weight_decay=0.0,
            clip=None,
        ),
        log_every=100,
        save_every=10_000,
    ),
)

tiny = tiny_twin(experiment)
