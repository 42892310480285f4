"""Our own tri-modal recipe: video, sound and text apart, then video with sound, then all, from one forward pass.

COMMAND  mmvideo train configs/pretrain/trimodal.py --workdir runs/trimodal
TINY     mmvideo train configs/pretrain/trimodal.py:tiny
COST     4.6e+20 FLOPs, attention dense (mmvideo plan): 39.9 hours of 8 GPUs that do 400 TFLOPs each
DATA     any clips with captions, most of them with sound; what a clip lacks is left out
EXPECTS  nothing: it was not trained at this size; configs/quickstart/shapes.py is its small relative, and what that
         gives stands in experiments/quickstart/

SOURCE   ours; each choice from a system beside it:
  stages        8 layers with each modality apart, where pairs are compared (VATT, CLIP); 2 in which video and sound
                meet, which are compared with text together (VALOR's text with both); 2 of all three, where hidden
                patches and the next words are told from the others (CAV-MAE, CoCa).
  sharing       own feed-forwards below the fusion and in it (multiway experts of BEiT-3 and VLMo): attention shared,
                so that the modalities speak one language, experts apart.
  blocks        RMS norms, normed queries and keys, SwiGLU, no biases (Gemma, ViT-22B); rotary positions, time in
                seconds.
  objectives    sigmoid pairs (SigLIP), masked patches of light masks at a fifth of the weight (CAV-MAE weighs the
                other way round), captioning at twice it (CoCa).
  presence      sound is taken from a fifth of the clips and pictures from a tenth, so that one modality is enough.
  optimiser     Muon, as the quickstart, which needed a third of AdamW's steps there.

DIFFERS  from the systems named, in that all of it happens at once.
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
        # 4 s of pictures in half-second tubelets; 10 s of sound; clips share rows, so shorter ones cost less.
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
