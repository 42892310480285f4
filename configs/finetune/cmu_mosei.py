"""CMU-MOSEI: a speaker's sentiment, from -3 to 3, predicted from face, voice and words.

COMMAND  mmvideo train configs/finetune/cmu_mosei.py --workdir runs/cmu_mosei
         (after configs/pretrain/trimodal.py in runs/trimodal, whose tokenizer it uses)
TINY     mmvideo train configs/finetune/cmu_mosei.py:tiny
COST     2.4e+17 FLOPs with dense attention (mmvideo plan): a minute on 8 GPUs at 400 TFLOP/s each
DATA     22,856 sentences cut out of videos of people who speak to the camera: 16,326 for training, 1,871 for
         validation, 4,659 for test, as papers report (Cai et al. 2025, doi 10.1038/s41598-025-85859-6, table 1). The
         sentences still available depend on the date of the download. Manifest: one row per sentence, "media" its
         video, "start" and "end", "caption" the spoken words, "labels" kind `sentiment`, a number with a decimal point
         such as -1.0 (the mean over the annotators); splits train, validation, test.
PROTOCOL mean absolute error and Pearson correlation; Acc-7 after rounding to whole numbers; Acc-2 and F1 of positive
         against negative without the clips of 0, and of non-negative against negative with them. One view.
PUBLISHED  error, correlation, Acc-7, Acc-2, F1
  0.580 / 0.703 / 51.8 / 82.5 / 82.3
                MulT (Tsai et al. 2019): as quoted in table 4 of Cai et al., with Acc-2 and F1 of positive against
                negative; its code weights the F1 of a class by the predictions, so compare it with f1_posneg_by_answers
                here
EXPECTS  not trained here at this size

SOURCE   ours; the metrics are those of the literature since Tsai et al. 2019, arXiv 1906.00295.
  tokens        16 frames at 2 per second, 224 pixels, 2 x 16 x 16; 10 s of AST's filter banks; 48 text tokens.
  head          the normalised mean of the tokens of all three modalities; absolute error of sentiment divided by 3.
  optimiser     AdamW, 1e-4 after an epoch of warm-up, layer decay 0.75, cosine; 10 epochs with batch 64; each modality
                is dropped from a tenth of the clips.

DIFFERS from the systems of the literature, which read precomputed features of face, voice and words; here everything is
  learned from pixels and waveforms. Text attends to video and audio; video and audio do not attend to text.
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
        # 1568 + 512 + 48 tokens: one clip per row.
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
