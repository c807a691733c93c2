"""Price book, ledger, budgets, reservations and analytics."""
