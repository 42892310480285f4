"""ActivityNet Captions: all that happens in a video of minutes, and when, written as one text with time tokens.

COMMAND  mmvideo data build MANIFEST corpora/activitynet_dense --tokenizer-vocabulary 32000 --time-tokens 100
         mmvideo train configs/finetune/activitynet_dense.py --workdir runs/activitynet_dense
         (after configs/pretrain/valor_groups.py in runs/valor_groups)
TINY     mmvideo data scenes corpora/quickstart/long --train 40 --test 16
         mmvideo data build corpora/quickstart/long/dense.jsonl corpora/quickstart/dense --tokenizer-vocabulary 200
         --time-tokens 100
         mmvideo train configs/finetune/activitynet_dense.py:tiny
COST     9.4e+17 FLOPs, attention dense (mmvideo plan): 5 minutes of 8 GPUs that do 400 TFLOPs each
DATA     about 20,000 videos of 2 minutes on average with 3 to 4 sentences and their moments; of what is left Vid2Seq
         has 8,649 to train on and 4,267 of validation, with two sets of sentences each. Manifest: "caption", the text
         that mmvideo.media.time_tokens.write_events makes of a video's events, and "events", a list of start, end (in
         seconds) and caption; splits train, validation.
PROTOCOL SODA_c, and METEOR and CIDEr-D of sentences whose moments overlap, at thresholds from 0.3 to 0.9; METEOR, and
         with it SODA_c, needs Java and its jar (SODA of ROUGE-L stands beside it, and is no published number). Written
         with four beams and a length penalty of 0.6.
PUBLISHED
  5.8           Vid2Seq, SODA_c, with what is spoken: its README
EXPECTS  nothing was trained here at this size

SOURCE   paper: Yang et al. 2023, arXiv 2302.14115. Code: scenic/projects/vid2seq, configs/activitynet-captions.py.
  tokens        100 frames spread over the video, 112 pixels, 16 x 16; 100 moments; 256 pieces.
  objective     the next piece of the text; label smoothing 0.1.
  optimiser     Adam 3e-4 after a tenth of the steps, cosine, no weight decay, clipped to 1; 20 epochs by 32.

PAPER AND CODE DISAGREE
  nowhere that would matter here.

DIFFERS HERE The trunk is that of configs/pretrain/valor_groups.py, at half its pictures' size; Vid2Seq reads one
  vector of CLIP a frame and what is spoken, and writes with T5. Pieces of text start anew, since pretraining had no
  time tokens. Sound is left out. One annotator's sentences are a video's events; the other set is not asked.
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
        # 100 x 7 x 7 + 256 tokens: a clip a row.
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
