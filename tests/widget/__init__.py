"""`llmagic.ImageUpload`: from Python, in a kernel, in a browser."""
