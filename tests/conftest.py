"""Fixtures for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def trained_model_dir() -> Path:
    """The folder of trained models, one folder each; tests that need it are skipped without it."""
    folder = os.environ.get("HALVE_MODELS", "")
    if not folder:
        pytest.skip("HALVE_MODELS is not set: it names the folder of trained models")
    if not Path(folder).is_dir():
        pytest.fail(f"HALVE_MODELS is {folder!r}, which is no folder")
    return Path(folder)
