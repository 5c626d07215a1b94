pragma circom 2.1.0;

// The binary digits of a number below 2^size, least significant first; no assignment satisfies it for any other.
template Digits(size) {
    signal input number;
    signal output digits[size];

    var sum = 0;
    for (var i = 0; i < size; i++) {
        digits[i] <-- (number >> i) & 1;
        digits[i] * (digits[i] - 1) === 0;
        sum += digits[i] * 2**i;
    }
    sum === number;
}

// 0 <= number < limit, for a number below 2^size. A limit above 2^size + number satisfies nothing.
template Under(size) {
    assert(size < 252);    // else the sums below wrap around the field

    signal input number;
    signal input limit;

    component distance = Digits(size);
    component itself = Digits(size);

    signal digits[size];
    itself.number <== number;
    digits <== itself.digits;
    distance.number <== number + 2**size - limit;
}
