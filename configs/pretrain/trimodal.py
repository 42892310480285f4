"""Our own tri-modal recipe: separate modalities, then video with audio, then all three, in one forward pass.

COMMAND  mmvideo train configs/pretrain/trimodal.py --workdir runs/trimodal
TINY     mmvideo train configs/pretrain/trimodal.py:tiny
COST     4.6e+20 FLOPs with dense attention (mmvideo plan): 39.9 hours on 8 GPUs at 400 TFLOP/s each
DATA     any clips with captions, most of them with audio; missing modalities are left out
EXPECTS  not trained at this size; configs/quickstart/shapes.py is its small relative, with results in
         experiments/quickstart/

SOURCE   ours; each choice names the system that it comes from:
  stages        8 layers with separate modalities, after which pairs are compared (VATT, CLIP); 2 in which video and
                audio fuse, and are compared jointly with text (VALOR's text with both); 2 of all three, where masked
                patches and next text tokens are predicted from the other modalities (CAV-MAE, CoCa).
  sharing       separate feed-forwards below and in the fusion layers (multiway experts of BEiT-3 and VLMo); attention
                is shared, so that the modalities share one representation.
  blocks        RMSNorm, QK-norm, SwiGLU, no biases (Gemma, ViT-22B); rotary positions, time in seconds.
  objectives    sigmoid contrastive pairs (SigLIP), lightly masked patches at a fifth of their weight (CAV-MAE weights
                them the other way round), captioning at twice their weight (CoCa).
  presence      audio is dropped from a fifth of the clips and video from a tenth, so that one modality is enough.
  optimiser     Muon, as in the quickstart, where it needed a third of AdamW's steps.

DIFFERS  from the systems named: it combines all of these choices.
"""

from mmvideo.experiment import Experiment
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, Masking, ModalityDropout, Packing, Source, Text, Video
from mmvideo.media.config import AST
from mmvideo.model.config import Block, Decoder, Fusion, Model, Sharing
from mmvideo.objectives import Captioning, Contrastive, MaskedPatches
from mmvideo.parallel.config import Mesh
from mmvideo.training.config import Optimizer, Training

experiment = Experiment(
    name="trimodal",
    input=Input(
        sources=(Source("corpora/clips"),),
        # 4 s of video in half-second tubelets and 10 s of audio; clips share rows, so shorter clips cost less.
        video=Video(fps=4.0, frames=16, size=224, tubelet=(2, 16, 16), crop_scale=0.5, flip=True, colour=0.2),
        audio=Audio(
            seconds=10.26, spectrogram=AST, patch=(16, 16), time_masks=1, time_mask=96, mel_masks=1, mel_mask=24
        ),
        text=Text(length=48, begin=True, vocabulary=32_000),
        masking=Masking(video=0.5, video_kind="tube", audio=0.5, audio_kind="time"),
        modality_dropout=ModalityDropout(drop={"audio": 0.2, "video": 0.1}),
        packing=Packing(rows=1024, tokens=2304, clips=8),
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
        decoder=Decoder(depth=4, width=384, heads=6, sees="clip"),
    ),
    objectives={
        "contrastive": Contrastive(
            pairs=("video-text", "audio-text", "video-audio", "video+audio-text"),
            form="sigmoid",
            chunk=1024,
            width=512,
            pooling="map",
        ),
        "masked_patches": MaskedPatches(weight=0.2),
        "captioning": Captioning(weight=2.0),
    },
    training=Training(
        steps=200_000,
        optimizer=Optimizer(name="muon", learning_rate=1e-3, warmup=2_000, weight_decay=0.05),
        ema=0.9999,
        log_every=100,
        save_every=5_000,
    ),
    mesh=Mesh(data=-1, fsdp=8),
)

tiny = tiny_twin(experiment)
