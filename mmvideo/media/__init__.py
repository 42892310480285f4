"""Files to arrays and back: `decode`, `encode`, `transcode`, `spectrogram` and `text`.

The modules import PyAV, Pillow and SentencePiece only when they are used, so this package is light;
import what is needed from its module, e.g. `from mmvideo.media.decode import decode`.
"""
