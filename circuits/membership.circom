pragma circom 2.1.0;

include "./poseidon.circom";

// The root of a Merkle tree of that depth, from a leaf and its path upwards. A side of 1 says that the node
// climbed from is the right child.
template MerkleRoot(depth) {
    signal input leaf;
    signal input sides[depth];
    signal input siblings[depth];
    signal output root;

    signal children[depth][2];
    signal nodes[depth + 1];
    nodes[0] <== leaf;

    for (var i = 0; i < depth; i++) {
        sides[i] * (sides[i] - 1) === 0;
    }
    for (var i = 0; i < depth; i++) {
        children[i][0] <== (siblings[i] - nodes[i]) * sides[i] + nodes[i];
        children[i][1] <== (nodes[i] - siblings[i]) * sides[i] + siblings[i];
        nodes[i + 1] <== Poseidon(2)(children[i]);
    }
    root <== nodes[depth];
}
