"""YouCook2: retrieval and captioning of recipe steps, with the best candidates re-ranked.

COMMAND  mmvideo train configs/finetune/youcook2.py --workdir runs/youcook2
         (after configs/pretrain/valor_groups.py in runs/valor_groups, whose tokenizer it uses)
TINY     mmvideo train configs/finetune/youcook2.py:tiny
COST     7.0e+17 FLOPs with dense attention (mmvideo plan): 4 minutes on 8 GPUs at 400 TFLOP/s each
DATA     steps cut out of cooking videos: 10,337 for training and 3,492 for validation, on which results are reported,
         by its annotations (a copy is in gingsi/coot-videotext). Fewer remain each year: VLM2Vec/YouCook2 on Hugging
         Face has 3,179 for validation. Manifest: one row per step, "media" its video, "start" and "end" in seconds,
         "caption" its sentence; splits train, validation.
PROTOCOL clip retrieval: R@1, R@5, R@10 and median rank over the validation clips; the best 50 of each query re-ranked
         by the matching head, in separate rows. BLEU-4, METEOR, ROUGE-L and CIDEr-D of captions decoded with three
         beams. Speech describes most of a recipe, so results with speech transcripts are not comparable.
PUBLISHED
  50.4          VAST, 1.3 B parameters, with speech transcripts, text to video, R@1: paper
  14.0          VAST's ablation, video alone; 30.3 with audio, 44.0 with speech transcripts: paper, table 7
  198.8         VAST, CIDEr of captions, with speech transcripts: paper; 93.6 from video alone (table 7)
EXPECTS  not trained here at this size

SOURCE   paper: Chen et al. 2023, arXiv 2304.08345. Code: TXH-mercury/VALOR, scripts/finetune_ret.sh, for rate
         and batch; neither has a config for this corpus.
  tokens        8 frames spread over the clip, 224 pixels, 16 x 16; 10 s of AST's filter banks with 64 bins; 40 text
                tokens.
  objectives    contrastive between text and video, audio, and both, with weight 1.5; next-token prediction; matching of
                text with its clip against hard negatives (VAST's, Chen et al. 2023, arXiv 2305.18500).
  optimiser     AdamW (0.9, 0.98), 2e-5 with linear decay, a tenth of the steps warm-up, weight decay 0.01, gradients
                clipped to 5; 40 epochs with batch 64.

PAPER AND CODE DISAGREE
  There is no code for this corpus.

DIFFERS HERE The backbone is that of configs/pretrain/valor_groups.py, whose differences apply here too. The model hears
  the audio but reads no speech transcript: text is the caption alone. The 40 epochs are our choice.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Captioning, Contrastive, Matching
from mmvideo.objectives.generation.config import Decoding
from mmvideo.training.config import Optimizer, Training

BATCH = 64
EPOCH = 10_300 // BATCH

experiment = Experiment(
    name="youcook2",
    input=Input(
        sources=(Source("corpora/youcook2"),),
        video=Video(fps=1.0, frames=8, sampling="uniform", size=224, tubelet=(1, 16, 16), crop_scale=0.5, flip=True),
        audio=Audio(
            seconds=10.26, spectrogram=Spectrogram(bins=64, mean=-4.2677393, deviation=2 * 4.5689974), patch=(16, 16)
        ),
        text=Text(
            tokenizer="runs/valor_groups/checkpoints/500000/record/tokenizer.model",
            length=40,
            begin=True,
            vocabulary=30_522,
        ),
        # 1568 + 256 + 40 tokens: one clip per row.
        packing=Packing(rows=BATCH, tokens=1864, clips=1),
    ),
    model=Model(
        size="B",
        fusion=Fusion("mid", layer=10, media_layer=8, text="causal"),
        sharing=Sharing(apart="nothing"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu"),
        position="learned_1d",
    ),
    objectives={
        "contrastive": Contrastive(
            pairs=("video-text", "audio-text", "video+audio-text"), weight=1.5, width=512, temperature=0.07
        ),
        "captioning": Captioning(),
        "matching": Matching(pair="video-text"),
    },
    training=Training(
        steps=40 * EPOCH,
        optimizer=Optimizer(
            name="adamw",
            learning_rate=2e-5,
            schedule="linear",
            warmup=4 * EPOCH,
            b1=0.9,
            b2=0.98,
            weight_decay=0.01,
            clip=5.0,
        ),
        log_every=50,
        save_every=5 * EPOCH,
        init_from="runs/valor_groups",
    ),
    evaluation=Evaluation(
        sources=(Source("corpora/youcook2", "validation"),),
        tasks=("retrieval", "captioning"),
        rerank=50,
        decoding=Decoding(method="beam", beams=3),
    ),
)

tiny = tiny_twin(experiment)
