"""The devices that JAX finds, or one clear error if it finds none."""

from __future__ import annotations

import os

import jax

EXTRAS = {"cuda": "cuda", "gpu": "cuda", "tpu": "tpu"}
"""The extra of mmvideo that installs a platform of `JAX_PLATFORMS`."""


class DeviceError(ValueError):
    """An error if JAX finds no devices of the requested kind, with the kind, the reason and a remedy."""


def find_devices() -> list[jax.Device]:
    """Return the devices of all processes.

    Raises:
      DeviceError: there are none of the platforms in `JAX_PLATFORMS`, or a driver doesn't start.
    """
    try:
        return jax.devices()
    # Without any plugin for the platform, JAX fails with an internal assertion that has no message.
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(_message(error)) from error


def _message(error: Exception) -> str:
    """Return one line with the platform, the reason and a remedy."""
    asked = jax.config.jax_platforms or os.environ.get("JAX_PLATFORMS") or ""
    reason = " ".join(str(error).split())[:300] or "no such device, driver or plugin is installed here"
    extra = next((EXTRAS[name] for name in asked.split(",") if name in EXTRAS), None)
    install = f", pip install 'mmvideo[{extra}]'" if extra else ""
    what = f"JAX_PLATFORMS={asked}: JAX finds no such device" if asked else "JAX finds no device"
    return f"{what} ({reason}); set JAX_PLATFORMS=cpu to compute on the CPU{install}; mmvideo doctor shows more"
