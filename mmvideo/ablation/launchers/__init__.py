"""Launchers of cells: processes of this machine, jobs of SLURM, JobSets of Kubernetes."""
