"""The same questions to Asahi and to what a user would pick instead, side by side on the same cores."""
