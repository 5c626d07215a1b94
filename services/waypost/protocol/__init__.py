"""The wire protocol: pure values and signatures. No chain, HTTP, database or clock."""
