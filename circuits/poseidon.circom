// The Poseidon hash (eprint 2019/458) over BN254, for one to three inputs: x^5, 8 full rounds, capacity 0.
pragma circom 2.1.0;

include "./poseidon_constants.circom";

template FifthPower() {
    signal input in;
    signal output out;

    signal square <== in * in;
    signal fourth <== square * square;
    out <== fourth * in;
}

// Partial rounds are in sparse form (appendix B). The signals that hold linear combinations are those that the
// compiler keeps as wires, in this order; README.md says why the order matters.
template Poseidon(inputCount) {
    signal input inputs[inputCount];
    signal output out;

    var width = inputCount + 1;
    var partialRounds = width == 3 ? 57 : 56;
    var constants[8][width] = FullConstants(width);
    var partialConstants[partialRounds] = PartialConstants(width);
    var mix[width][width] = Mix(width);
    var bridge[width][width] = Bridge(width);
    var first[partialRounds][width] = PartialFirst(width);
    var column[partialRounds][width - 1] = PartialColumn(width);

    signal keyed[7][width];        // after the S-boxes of a full round, plus its constants
    signal last[width];            // after the S-boxes of the last full round
    signal head[partialRounds];    // the first element after a partial round

    component full[8][width];
    component partial[partialRounds];

    var state[width];
    state[0] = constants[0][0];
    for (var i = 1; i < width; i++) {
        state[i] = inputs[i - 1] + constants[0][i];
    }
    var mixed[width];

    for (var round = 0; round < 8; round++) {
        if (round == 4) {
            for (var r = 0; r < partialRounds; r++) {
                partial[r] = FifthPower();
                partial[r].in <== state[0];
                var boxed = partial[r].out + partialConstants[r];
                var sum = first[r][0] * boxed;
                for (var i = 1; i < width; i++) {
                    sum += first[r][i] * state[i];
                    state[i] += column[r][i - 1] * boxed;
                }
                head[r] <== sum;
                state[0] = head[r];
            }
        }
        for (var i = 0; i < width; i++) {
            full[round][i] = FifthPower();
            full[round][i].in <== state[i];
            if (round < 7) {
                keyed[round][i] <== full[round][i].out + constants[round + 1][i];
            } else {
                last[i] <== full[round][i].out;
            }
        }
        if (round < 7) {
            for (var i = 0; i < width; i++) {
                mixed[i] = 0;
                for (var j = 0; j < width; j++) {
                    mixed[i] += (round == 3 ? bridge[i][j] : mix[i][j]) * keyed[round][j];
                }
            }
            for (var i = 0; i < width; i++) {
                state[i] = mixed[i];
            }
        }
    }

    var digest = 0;
    for (var j = 0; j < width; j++) {
        digest += mix[0][j] * last[j];
    }
    out <== digest;
}
