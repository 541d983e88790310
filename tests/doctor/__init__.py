"""`llmagic doctor` on this machine, and on machines that lack something."""
