"""Package metadata; the tools' settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

# Ranges, not pins: the lower end is what CI runs, the upper end the next release that may break an
# interface. Python 3.11 resolves jax to 0.10; newer Pythons get 0.11 and 0.12.
CORE = [
    "jax>=0.10.2,<0.13",
    "flax>=0.12.8,<0.13",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12.8,<0.13",
    "einops>=0.8.2,<0.9",
    "jaxtyping>=0.3.11,<0.4",
    "numpy>=2.2,<3",
    "scipy>=1.15,<2",
    "av>=18.1,<20",
    "grain>=0.2.18,<0.3",
    "tensorflow-datasets>=4.9.10,<4.10",
    "array-record>=0.8.3,<0.9",
    "pyarrow>=20",
    "sentencepiece>=0.2.1,<0.3",
    "pydantic>=2.11,<3",
    "tyro>=1.0,<2",
    "rich>=14,<16",
    "packaging>=24",
    "tensorboardX>=2.6.4,<3",
    "matplotlib>=3.10,<4",
    "pillow>=12",
]
# For `mmvideo ablate --launcher slurm`.
SLURM = ["submitit>=1.5.3,<2"]
# For model.block.quantized; its product is no public function.
FP8 = ["qwix>=0.1.8,<0.2"]
DEV = [
    *FP8,
    *SLURM,
    "pytest>=9,<10",
    "pytest-xdist>=3.8,<4",
    "beartype>=0.22,<0.24",
    "ruff>=0.15,<0.18",
    "import-linter>=2.7,<3",
]

setup(
    name="mmvideo",
    version="0.1.0",
    description="One transformer for video, sound and text, in JAX and Flax",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["mmvideo", "mmvideo.*"]),
    package_data={"mmvideo.datasets": ["samples/**/*"], "mmvideo.model.attention": ["*.json"]},
    install_requires=CORE,
    extras_require={
        "dev": DEV,
        "cuda": ["jax[cuda13]>=0.10.2,<0.13"],
        "tpu": ["jax[tpu]>=0.10.2,<0.13"],
        # Needs Python 3.12: older releases of tokamax pin a typeguard that tyro can't work with.
        "tokamax": ["tokamax>=0.0.17,<0.1"],
        "fp8": FP8,
        "slurm": SLURM,
        # For tools/bench/peer.py alone.
        "bench-peer": ["torch>=2.8,<3", "transformers>=5.0,<6"],
    },
    entry_points={"console_scripts": ["mmvideo=mmvideo.cli.main:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
