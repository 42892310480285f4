"""Sources of clips: manifest folders, corpora in ArrayRecord, embedded samples, generated shapes.

`corpus` opens a corpus, `build` writes one from a manifest (`manifests/`), and `inspect_corpus` makes a page of it.
`samples` are three small real sets in the package. `shapes` generates clips whose labels have known answers.
"""
