"""CMU-MOSEI: how a speaker feels about a thing, from -3 to 3, by face, voice and words.

COMMAND  mmvideo train configs/finetune/cmu_mosei.py --workdir runs/cmu_mosei
         (after configs/pretrain/trimodal.py in runs/trimodal, whose tokenizer it takes)
TINY     mmvideo train configs/finetune/cmu_mosei.py:tiny
COST     2.4e+17 FLOPs, attention dense (mmvideo plan): a minute of 8 GPUs that do 400 TFLOPs each
DATA     22,856 sentences cut out of videos of people who speak to the camera: 16,326 to train on, 1,871 of validation,
         4,659 of test, as papers have it (Cai et al. 2025, doi 10.1038/s41598-025-85859-6, table 1); which are left
         depends on who downloads. Manifest: a row a sentence, "media" its video, "start" and "end", "caption" what is
         said, "labels" kind `sentiment`, a number with a point such as -1.0 (the mean over the annotators); splits
         train, validation, test.
PROTOCOL mean absolute error and Pearson correlation; Acc-7 after rounding to whole numbers; Acc-2 and F1 of positive
         against negative, clips of 0 left out, and of not negative against negative, with them. One view.
PUBLISHED  error, correlation, Acc-7, Acc-2, F1
  0.580 / 0.703 / 51.8 / 82.5 / 82.3
                MulT (Tsai et al. 2019): as quoted in table 4 of Cai et al., with Acc-2 and F1 of positive against
                negative; its code weighs the F1 of a class by the answers, so that it stands beside
                f1_posneg_by_answers here
EXPECTS  nothing was trained here at this size

SOURCE   ours; the metrics are those of the literature after Tsai et al. 2019, arXiv 1906.00295.
  tokens        16 frames at 2 a second, 224 pixels, 2 x 16 x 16; 10 s of AST's filter banks; 48 pieces of words.
  head          the mean of the tokens of all three, normed; absolute error of sentiment over 3.
  optimiser     AdamW, 1e-4 after an epoch of warm-up, layer decay 0.75, cosine; 10 epochs by 64; each modality is left
                out of a tenth of the clips.

DIFFERS from the systems of the literature, which see features of the face, the voice and the words that others made;
  here all is learned from pixels and sound. Words see picture and sound; these do not see words.
"""

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, ModalityDropout, Packing, Source, Text, Video
from mmvideo.media.config import AST
from mmvideo.model.config import Block, Fusion, Model, Sharing
from mmvideo.objectives import Regression
from mmvideo.training.config import Optimizer, Training

BATCH = 64
EPOCH = 16_326 // BATCH

experiment = Experiment(
    name="cmu_mosei",
    input=Input(
        sources=(Source("corpora/cmu_mosei"),),
        video=Video(fps=2.0, frames=16, size=224, tubelet=(2, 16, 16), crop_scale=0.5, flip=True, colour=0.2),
        audio=Audio(
            seconds=10.26, spectrogram=AST, patch=(16, 16), time_masks=1, time_mask=96, mel_masks=1, mel_mask=24
        ),
        text=Text(
            tokenizer="runs/trimodal/checkpoints/200000/record/tokenizer.model",
            length=48,
            begin=True,
            vocabulary=32_000,
        ),
        modality_dropout=ModalityDropout(drop={"video": 0.1, "audio": 0.1, "text": 0.1}),
        # 1568 + 512 + 48 tokens: a clip a row.
        packing=Packing(rows=BATCH, tokens=2128, clips=1),
    ),
    model=Model(
        size="B",
        feed_forward=2048,
        fusion=Fusion("mid", layer=10, media_layer=8, text="causal"),
        sharing=Sharing(apart="feed_forward", fused="feed_forward"),
        block=Block(norm="rms", qk_norm=True, activation="swiglu", biases="none", drop_path=0.1),
        registers=4,
        position="rotary",
        remat="dots",
    ),
    objectives={
        "sentiment": Regression(
            label="sentiment", modalities=("video", "audio", "text"), error="l1", range=(-3.0, 3.0), require="any"
        )
    },
    training=Training(
        steps=10 * EPOCH,
        optimizer=Optimizer(
            name="adamw", learning_rate=1e-4, warmup=EPOCH, b2=0.999, weight_decay=0.05, layer_decay=0.75
        ),
        log_every=20,
        save_every=EPOCH,
        init_from="runs/trimodal",
    ),
    evaluation=Evaluation(tasks=("regression",)),
)

tiny = tiny_twin(experiment)
