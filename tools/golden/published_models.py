"""Make `tests/published/golden/*.npz`: outputs of transformers' models with random weights and inputs.

    pip install torch transformers
    python tools/golden/published_models.py

A file holds the weights under their names in transformers (`w/…`, rounded to half precision, in which they are kept),
the inputs (`in/…`) and the model's outputs (`out/…`, float32). The models are tiny, and built from the classes
and settings of the published ones; `tests/published/` maps the weights into ours and compares, without torch, and
`python tools/golden/published_table.py` prints the differences.

Where transformers' class differs from the original code (in the epsilon of a norm that no setting controls), the
original's value is set, with a note beside it.
"""

from __future__ import annotations

import numpy as np
import torch
import transformers as T
from golden_files import save
from torch_models import pixels, randomised, write
from transformers.models.vit_mae import modeling_vit_mae

SMALL = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)
QUIET = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
FIXED = ("position_embeddings", "decoder_pos_embed", "embed_positions.weight")


def videomae() -> None:
    """Write VideoMAE: the encoder of visible tokens, and the decoder's output. Original epsilon: 1e-6 everywhere."""
    config = T.VideoMAEConfig(
        **SMALL, image_size=16, patch_size=4, num_frames=4, tubelet_size=2, qkv_bias=True, use_mean_pooling=False,
        decoder_hidden_size=12, decoder_num_attention_heads=2, decoder_num_hidden_layers=2,
        decoder_intermediate_size=48, layer_norm_eps=1e-6,
    )  # fmt: skip
    model = randomised(T.VideoMAEForPreTraining(config), 0)
    model.decoder.norm.eps = 1e-6
    frames, seen = pixels(1, 4, 3, 16, 16)
    tube = np.random.default_rng(2).permutation(16) < 12
    hidden = torch.from_numpy(np.tile(tube, 2))[None]
    encoded = model.videomae(seen, bool_masked_pos=hidden).last_hidden_state
    answers = model(seen, bool_masked_pos=hidden).logits
    write("videomae", model, {"frames": frames, "hidden": hidden}, {"encoded": encoded, "answers": answers})
    config.use_mean_pooling, config.num_labels = True, 5
    model = randomised(T.VideoMAEForVideoClassification(config), 1)
    model.fc_norm.eps = 1e-6
    write("videomae_classification", model, {"frames": frames}, {"logits": model(seen).logits})


def vit_mae_positions(width: int) -> torch.Tensor:
    """Return the positions of `ViTMAEEmbeddings.initialize_weights`; a new model of transformers 5 leaves them at 0."""
    made = modeling_vit_mae.build_2d_sinusoidal_position_embedding(height=4, width=4, embed_dim=width, cls_token=True)
    return torch.cat([made[..., width // 2 :], made[..., : width // 2]], dim=-1)[None]


def vit_mae() -> None:
    """Write an image MAE: the encoder, and the decoder, which keeps the class token."""
    config = T.ViTMAEConfig(
        **SMALL, **QUIET, image_size=16, patch_size=4, decoder_hidden_size=16, decoder_num_attention_heads=2,
        decoder_num_hidden_layers=2, decoder_intermediate_size=64, layer_norm_eps=1e-6, mask_ratio=0.75,
    )  # fmt: skip
    model = randomised(T.ViTMAEForPreTraining(config), 2, fixed=FIXED)
    model.vit.embeddings.position_embeddings.data = vit_mae_positions(24)
    model.decoder.decoder_pos_embed.data = vit_mae_positions(16)
    images, seen = pixels(1, 3, 16, 16)
    noise = torch.rand(1, 16, generator=torch.Generator().manual_seed(0))
    encoder = model.vit(seen, noise=noise)
    answers = model(seen, noise=noise).logits
    write(
        "vit_mae", model, {"images": images, "hidden": encoder.mask.bool(), "order": encoder.ids_restore},
        {"encoded": encoder.last_hidden_state, "answers": answers},
    )  # fmt: skip


def ast() -> None:
    """Write AST: overlapping patches, mel bins first, two class tokens; their normalised mean is classified."""
    config = T.ASTConfig(
        **SMALL, **QUIET, patch_size=4, frequency_stride=3, time_stride=3, max_length=19, num_mel_bins=10,
        layer_norm_eps=1e-6, num_labels=5,
    )  # fmt: skip
    model = randomised(T.ASTForAudioClassification(config), 3)
    model.classifier.layernorm.eps = 1e-5  # torch's own, as in the original code
    rows = torch.randn(1, 19, 10, generator=torch.Generator().manual_seed(1))
    encoded = model.audio_spectrogram_transformer(rows).last_hidden_state
    write("ast", model, {"rows": rows}, {"encoded": encoded, "logits": model(rows).logits})


def vivit() -> None:
    """Write ViViT: tubelets, a class token, tanh-approximated GELU; only the backbone's norm before the classifier."""
    config = T.VivitConfig(
        **SMALL, **QUIET, image_size=16, num_frames=4, tubelet_size=[2, 8, 8], layer_norm_eps=1e-6, num_labels=5
    )  # fmt: skip
    model = randomised(T.VivitForVideoClassification(config), 4)
    frames, seen = pixels(1, 4, 3, 16, 16)
    encoded = model.vivit(seen).last_hidden_state
    write("vivit", model, {"frames": frames}, {"encoded": encoded, "logits": model(seen).logits})


def two_towers(name: str, config: T.PretrainedConfig, kind: type, seed: int, words: np.ndarray, **text) -> None:
    """Write the embeddings of both towers and their logits."""
    model = randomised(kind(config), seed)
    model.logit_scale.data = torch.tensor(1.5 if model.logit_scale.ndim == 0 else [1.5])
    images, seen = pixels(2, 3, 16, 16)
    given = dict(input_ids=torch.from_numpy(words), **text)
    out = model(pixel_values=seen, **given)
    write(
        name, model, {"images": images, "words": words},
        {"image": out.image_embeds, "text": out.text_embeds, "logits": out.logits_per_image,
         "image_tokens": out.vision_model_output.last_hidden_state,
         "text_tokens": out.text_model_output.last_hidden_state},
    )  # fmt: skip


def timesformer() -> None:
    """Write TimeSformer, joint space and time: the sum of a space table and a time table."""
    config = T.TimesformerConfig(
        **SMALL, **QUIET, image_size=16, patch_size=8, num_frames=3, attention_type="joint_space_time",
        layer_norm_eps=1e-6,
    )  # fmt: skip
    model = randomised(T.TimesformerModel(config), 11)
    frames, seen = pixels(1, 3, 3, 16, 16)
    write("timesformer", model, {"frames": frames}, {"encoded": model(seen).last_hidden_state})


def siglip() -> None:
    """Write SigLIP: attention pooling of images, the last token of padded text, a linear head on text alone."""
    vision = dict(**SMALL, image_size=16, patch_size=4)
    text = dict(**SMALL, vocab_size=30, max_position_embeddings=8)
    words = np.array([[5, 9, 11, 1, 1, 1, 1, 1], [7, 8, 21, 22, 23, 24, 4, 1]])
    config = T.SiglipConfig(text_config=text, vision_config=vision)
    two_towers("siglip", config, T.SiglipModel, 5, words)


def clip() -> None:
    """Write CLIP: a norm before the first image layer, causal text read at its end, projections without bias."""
    vision = dict(**SMALL, image_size=16, patch_size=4, projection_dim=10)
    text = dict(**SMALL, vocab_size=30, max_position_embeddings=8, projection_dim=10, eos_token_id=29, bos_token_id=28)
    words = np.array([[28, 9, 11, 29, 29, 29, 29, 29], [28, 8, 21, 22, 23, 24, 4, 29]])
    config = T.CLIPConfig(text_config=text, vision_config=vision, projection_dim=10)
    two_towers("clip", config, T.CLIPModel, 6, words)


def vjepa2() -> None:
    """Write V-JEPA 2: the encoder with rotary positions, on all and on some tokens; the predictor of the others."""
    config = T.VJEPA2Config(
        patch_size=4, crop_size=16, frames_per_clip=4, tubelet_size=2, hidden_size=40, num_attention_heads=2,
        num_hidden_layers=2, mlp_ratio=2.0, layer_norm_eps=1e-6, pred_hidden_size=24, pred_num_attention_heads=2,
        pred_num_hidden_layers=2, pred_mlp_ratio=4.0, pred_num_mask_tokens=2,
    )  # fmt: skip
    model = randomised(T.VJEPA2Model(config), 7)
    frames, seen = pixels(1, 4, 3, 16, 16)
    every = torch.randperm(32, generator=torch.Generator().manual_seed(3))
    kept, wanted = every[:12].sort().values[None], every[12:].sort().values[None]
    with torch.no_grad():
        whole = model(seen, skip_predictor=True).last_hidden_state
        out = model(seen, context_mask=[kept], target_mask=[wanted])
    write(
        "vjepa2", model, {"frames": frames, "kept": kept, "wanted": wanted},
        {"encoded": whole, "predicted": out.predictor_output.last_hidden_state},
    )  # fmt: skip


def whisper() -> None:
    """Write Whisper: the encoder after its two convolutions, and the features of audio."""
    config = T.WhisperConfig(
        d_model=24, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=48, num_mel_bins=10, max_source_positions=9, vocab_size=40,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        activation_function="gelu",
    )  # fmt: skip
    model = randomised(T.WhisperModel(config).encoder, 8, fixed=FIXED)
    rows = torch.randn(1, 18, 10, generator=torch.Generator().manual_seed(4))
    out = model(rows.transpose(1, 2)).last_hidden_state
    draw = np.random.default_rng(5)
    time = np.arange(16000) / 16000
    sound = (
        0.4 * np.sin(2 * np.pi * (300 + 900 * time) * time) * (time < 0.5) + 1e-3 * draw.normal(size=16000)
    ).astype(np.float32)
    extractor = T.WhisperFeatureExtractor(chunk_length=1)
    # Use the float64 path; torch's float32 path is accurate to only 3e-5 at 80 dB below the loudest value.
    features = extractor._np_extract_fbank_features(sound[None].astype(np.float64), "cpu")
    write(
        "whisper",
        model,
        {"rows": rows, "sound": sound},
        {"encoded": out, "features": torch.from_numpy(np.asarray(features))},
    )


def clap() -> None:
    """Write CLAP's audio features; its tower, a Swin transformer, is not supported."""
    draw, time = np.random.default_rng(6), np.arange(4800) / 48000
    sound = (0.4 * np.sin(2 * np.pi * 2000 * time) * (time < 0.05) + 1e-3 * draw.normal(size=4800)).astype(np.float32)
    extractor = T.ClapFeatureExtractor()
    features = extractor._np_extract_fbank_features(sound.astype(np.float64), extractor.mel_filters_slaney)
    save("clap", {}, {"sound": sound}, {"features": features})


def bert() -> None:
    """Write BERT: norms after the branches, and one on the embedded tokens."""
    config = T.BertConfig(**SMALL, **QUIET, vocab_size=30, max_position_embeddings=8, type_vocab_size=2)
    model = randomised(T.BertModel(config, add_pooling_layer=False), 9)
    words = np.array([[2, 9, 11, 7, 21, 3]])
    write("bert", model, {"words": words}, {"encoded": model(torch.from_numpy(words)).last_hidden_state})


def main() -> None:
    """Write a file for each model."""
    for make in (videomae, vit_mae, ast, vivit, timesformer, siglip, clip, vjepa2, whisper, clap, bert):
        with torch.no_grad():
            make()


if __name__ == "__main__":
    main()
