"""What some tests need that the package's installation does not bring; in CI none of them skips itself."""

import os

import pytest

from olora_viz.web.site.live_script import IN_CLONE

NEEDS_JAX = pytest.mark.skipif(not IN_CLONE.is_dir() and "CI" not in os.environ, reason="needs jax-js: npm ci")
