"""Tests of the magics: in a shell, in real kernels, headless, and in a terminal."""
