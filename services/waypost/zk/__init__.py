"""Zero-knowledge proofs of RLN membership: Groth16 over BN254, its keys, prover and verifier."""
