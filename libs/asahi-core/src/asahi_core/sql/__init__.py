"""SQL databases as every service uses them: an embedded SQLite file, or PostgreSQL. No other module here needs it."""
