"""Models by name: choosing among files, the hub, split models, what is on disk."""
