// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Poseidon of one field element
/// @notice What a deployed `PoseidonT2` of the npm package poseidon-solidity answers when it is called.
interface IPoseidon {
    /// @notice Poseidon over the scalar field of BN254, with circomlib's constants. Inputs are taken modulo the field.
    function hash(uint256[1] memory input) external pure returns (uint256);
}
