"""Input: from the clips of one or several corpora to packed streams of tokens, planned before anything is decoded.

`pipeline.Batches` is the way in; `picker` draws what is shown of a clip, `plan` says which clips stand in
which row, `loading` turns one clip into tokens, `assemble` weaves a row, `placement` puts a batch on the
devices of a mesh.
"""
