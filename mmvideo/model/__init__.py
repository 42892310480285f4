"""The model: embedders, positions, span attention, the scanned transformer, pooling, heads and decoder.

`transformer.MultimodalTransformer` turns a `TokenStream` into `features.Features`, stage by stage of its
`fusion`. In a stage, `rows` says where tokens stand, `route` what they see, and `layering` sends them through
the layers, whose weights and products are in `block`. Nothing here knows objectives, meshes or files; every
parameter carries the names of its logical axes (`layers.parameter`), which `mmvideo.parallel` maps to the mesh.
"""
