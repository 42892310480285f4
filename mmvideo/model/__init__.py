"""The model: embedders, positions, span attention, the scanned transformer, pooling, heads and decoder.

`transformer/multimodal_transformer.py` turns a `TokenStream` into `features.Features`, stage by stage of its `fusion/`.
In a stage, `fusion/gather.py` sorts tokens into rows, `fusion/routing.py` decides which tokens attend to each other,
and `transformer/run_layers.py` sends the rows through the layers, whose weights and products are in
`transformer/block.py`. `attention/` holds span attention, `positions/` the positions of tokens, `layers/` the small
layers. Nothing here knows objectives, meshes or files. Every parameter carries the names of its logical axes
(`layers.basic.parameter`), which `mmvideo.parallel` maps to the mesh.
"""
