"""The model: embedders, positions, span attention, the scanned transformer, pooling, heads and decoder.

`transformer.MultimodalTransformer` turns a `TokenStream` into `features.Features`. Nothing here
knows objectives, meshes or files; every parameter carries the names of its logical axes
(`layers.parameter`), which `mmvideo.parallel` maps to the mesh.
"""
