"""The charts as a cluster would get them: rendered, checked by rules, refused where they should be."""
