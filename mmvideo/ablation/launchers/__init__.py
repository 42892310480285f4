"""Launchers of cells: local processes, SLURM jobs, Kubernetes JobSets."""
