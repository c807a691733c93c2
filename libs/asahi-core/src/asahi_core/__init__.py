"""What every Asahi service shares: settings, RPC, errors, money, prices, clock, ids, logging, telemetry."""
