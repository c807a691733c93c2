"""The fault machine: breaks everything at random under mixed traffic, and compares three books afterwards."""
