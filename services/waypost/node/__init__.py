"""The service node: what serves clients, keeps the books and claims on chain."""
