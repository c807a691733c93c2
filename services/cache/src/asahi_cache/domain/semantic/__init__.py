"""Tier 2: may the answer to one prompt serve another? Rules, evidence and the bound; no driver and no model."""
