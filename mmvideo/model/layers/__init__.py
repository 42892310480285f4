"""Small layers: linear maps, norms, low-rank updates, drop path, rematerialization."""
