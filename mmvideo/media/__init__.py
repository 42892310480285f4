"""Conversion of media files to arrays and back: `decode`, `encode`, `transcode`, `spectrogram` and `text`.

The modules import PyAV, Pillow and SentencePiece only on use, so this package is light. Import from the modules, e.g.
`from mmvideo.media.decode import decode`.
"""
