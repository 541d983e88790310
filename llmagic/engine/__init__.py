"""A loaded model answers sequences: restore, prefill, decode, save."""
