"""Where clips come from: manifest folders, corpora in ArrayRecord, embedded samples, generated shapes.

`corpus` opens a corpus, `build` writes one from a manifest (`manifests/`), `inspect_corpus` makes a page of it,
`samples` are three small real sets that come with the package, `shapes` generates clips whose labels have known
answers.
"""
