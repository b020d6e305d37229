"""The method of MME-SID in torch: usable alone from a notebook, with no database and no HTTP."""
