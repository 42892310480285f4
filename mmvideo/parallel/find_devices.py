"""The devices that JAX finds, or one clear error where it finds none."""

from __future__ import annotations

import os

import jax

EXTRAS = {"cuda": "cuda", "gpu": "cuda", "tpu": "tpu"}
"""The extra of mmvideo that brings a platform of `JAX_PLATFORMS`."""


class DeviceError(ValueError):
    """JAX finds no devices of the kind that is asked for: which, why, and what to do."""


def find_devices() -> list[jax.Device]:
    """Return the devices of all processes.

    Raises:
      DeviceError: there are none of the platforms in `JAX_PLATFORMS`, or a driver doesn't start.
    """
    try:
        return jax.devices()
    # Without any plugin for the platform, JAX ends in an assertion of its own that says nothing.
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(_told(error)) from error


def _told(error: Exception) -> str:
    """One line: the platform, the reason, what to do."""
    asked = jax.config.jax_platforms or os.environ.get("JAX_PLATFORMS") or ""
    reason = " ".join(str(error).split())[:300] or "no such device, driver or plugin is installed here"
    extra = next((EXTRAS[name] for name in asked.split(",") if name in EXTRAS), None)
    install = f", pip install 'mmvideo[{extra}]'" if extra else ""
    what = f"JAX_PLATFORMS={asked}: JAX finds no such device" if asked else "JAX finds no device"
    return f"{what} ({reason}); set JAX_PLATFORMS=cpu to compute on the CPU{install}; mmvideo doctor tells more"
