"""Many devices and many processes: the mesh, the rules from logical axes to it, the set-up of processes."""
