"""ActivityNet Captions: dense captioning of minutes-long videos; events and times are one text with time tokens.

COMMAND  mmvideo data build MANIFEST corpora/activitynet_dense --tokenizer-vocabulary 32000 --time-tokens 100
         mmvideo train configs/finetune/activitynet_dense.py --workdir runs/activitynet_dense
         (after configs/pretrain/valor_groups.py in runs/valor_groups)
TINY     mmvideo data scenes corpora/quickstart/long --train 40 --test 16
         mmvideo data build corpora/quickstart/long/dense.jsonl corpora/quickstart/dense --tokenizer-vocabulary 200
         --time-tokens 100
         mmvideo train configs/finetune/activitynet_dense.py:tiny
COST     9.4e+17 FLOPs with dense attention (mmvideo plan): 5 minutes on 8 GPUs at 400 TFLOP/s each
DATA     about 20,000 videos of 2 minutes on average, each with 3 to 4 sentences and their moments. Of those still
         available Vid2Seq has 8,649 for training and 4,267 for validation, the latter with two sets of sentences each.
         Manifest: "caption", the text that mmvideo.media.time_tokens.write_events writes for a video's events, and
         "events", a list of start, end (in seconds) and caption; splits train, validation.
PROTOCOL SODA_c, and METEOR and CIDEr-D of sentences whose moments overlap, at thresholds from 0.3 to 0.9. METEOR, and
         therefore SODA_c, needs Java and its jar. (SODA with ROUGE-L is also reported; no published result uses it.)
         Decoding uses four beams and a length penalty of 0.6.
PUBLISHED
  5.8           Vid2Seq, SODA_c, with speech transcripts: its README
EXPECTS  not trained here at this size

SOURCE   paper: Yang et al. 2023, arXiv 2302.14115. Code: scenic/projects/vid2seq, configs/activitynet-captions.py.
  tokens        100 frames spread over the video, 112 pixels, 16 x 16; 100 moments; 256 text tokens.
  objective     next-token prediction on the text; label smoothing 0.1.
  optimiser     Adam 3e-4 after a tenth of the steps, cosine, no weight decay, gradients clipped to 1; 20 epochs with
                batch 32.

PAPER AND CODE DISAGREE
  nowhere that matters here.

DIFFERS HERE The backbone is that of configs/pretrain/valor_groups.py, at half its frame size. Vid2Seq reads one CLIP
  vector per frame and the speech transcript, and decodes with T5. Text embeddings are newly initialised, because
  pretraining had no time tokens. Audio is left out. The events of a video are one annotator's sentences; the other set
  is not used.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Input, Packing, Source, Text, Video
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Captioning
from mmvideo.objectives.generation.config import Decoding
from mmvideo.training.config import Optimizer, Training

BATCH = 32
EPOCH = 8_649 // BATCH

experiment = Experiment(
    name="activitynet_dense",
    input=Input(
        sources=(Source("corpora/activitynet_dense"),),
        video=Video(fps=1.0, frames=100, sampling="uniform", size=112, tubelet=(1, 16, 16), crop_scale=0.5, flip=True),
        audio=None,
        text=Text(length=256, begin=True, vocabulary=32_000),
        # 100 x 7 x 7 + 256 tokens: one clip per row.
        packing=Packing(rows=BATCH, tokens=5156, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("mid", layer=10, media_layer=8, text="causal"),
        sharing=Sharing(apart="nothing"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu"),
        position="learned_1d",
        remat="dots",
    ),
    objectives={"captioning": Captioning(media=("video",), smoothing=0.1)},
    training=Training(
        steps=20 * EPOCH,
        optimizer=Optimizer(
            name="adamw", learning_rate=3e-4, warmup=2 * EPOCH, b1=0.9, b2=0.999, weight_decay=0.0, clip=1.0
        ),
        log_every=20,
        save_every=EPOCH,
        init_from="runs/valor_groups",
        init_fresh=("trunk.embed.text.*", "heads.captioning.*"),
    ),
    evaluation=Evaluation(
        sources=(Source("corpora/activitynet_dense", "validation"),),
        tasks=("dense_captioning",),
        decoding=Decoding(method="beam", beams=4, length_penalty=0.6),
    ),
)

tiny = tiny_twin(experiment)
