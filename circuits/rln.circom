// RLN-v2: proves that a member whose leaf is in the tree signals at most `limit` times per epoch, and discloses one
// share of the member's secret with each signal. docs: README.md. Public order: y, root, nullifier, x, externalNullifier.
pragma circom 2.1.0;

include "./membership.circom";
include "./range.circom";

template Rln(depth, limitSize) {
    signal input secret;
    signal input limit;
    signal input messageId;
    signal input siblings[depth];
    signal input sides[depth];
    signal input x;
    signal input externalNullifier;

    signal output y;
    signal output root;
    signal output nullifier;

    signal commitment <== Poseidon(1)([secret]);
    signal leaf <== Poseidon(2)([commitment, limit]);
    root <== MerkleRoot(depth)(leaf, sides, siblings);

    Under(limitSize)(messageId, limit);

    signal a1 <== Poseidon(3)([secret, externalNullifier, messageId]);
    y <== secret + a1 * x;
    nullifier <== Poseidon(1)([a1]);
}

component main { public [x, externalNullifier] } = Rln(20, 16);
