"""`asahi up`: all services of an installation on one machine, as real processes."""
