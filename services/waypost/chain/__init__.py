"""The chain through web3: one module per contract, the sender, the watcher and deployment.
Imports `protocol` and `errors` only."""
