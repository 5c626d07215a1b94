// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IChannels} from "../interfaces/IChannels.sol";

/// @title Receipts: who signed them
/// @notice The hot path of `claim`. What all receipts of a batch share is laid out in memory once, so that each one
/// costs two hashes and one recovery.
library Receipts {
    bytes32 internal constant TYPEHASH = keccak256("Receipt(address payee,address token,uint128 cumulative)");

    /// @dev Memory of a batch: the struct's preimage (typehash, payee, token, cumulative), then the digest's preimage
    /// (0x1901, domain separator, struct hash).
    type Template is uint256;

    uint256 private constant STRUCT_SIZE = 0x80;
    uint256 private constant DIGEST_SIZE = 0x42;

    /// @notice Lays out what all receipts for `payee` in `token` have in common.
    function template(bytes32 domainSeparator, address payee, address token)
        internal
        pure
        returns (Template template_)
    {
        bytes32 typehash = TYPEHASH;
        assembly ("memory-safe") {
            template_ := mload(0x40)
            mstore(0x40, add(template_, 0xe0))
            mstore(template_, typehash)
            mstore(add(template_, 0x20), shr(96, shl(96, payee)))
            mstore(add(template_, 0x40), shr(96, shl(96, token)))
            mstore(add(template_, 0x80), shl(240, 0x1901))
            mstore(add(template_, 0x82), domainSeparator)
        }
    }

    /// @notice Who signed the receipt (0 if the signature is malformed), and for how much.
    /// @dev Reads calldata words as they are, so that no malformed entry can spoil a batch: a `cumulative` beyond
    /// uint128 hashes to what no wallet signs. Receipts are running totals, so a second signature of the same total
    /// (a malleable s) is as harmless as the first.
    function read(Template template_, IChannels.SignedReceipt calldata receipt)
        internal
        view
        returns (address signer, uint256 cumulative)
    {
        assembly ("memory-safe") {
            cumulative := calldataload(receipt)
            let vs := calldataload(add(receipt, 0x40))
            // The struct hash goes behind 0x1901 and the domain separator, the digest into free memory.
            mstore(add(template_, 0x60), cumulative)
            mstore(add(template_, 0xa2), keccak256(template_, STRUCT_SIZE))
            let input := mload(0x40)
            mstore(input, keccak256(add(template_, STRUCT_SIZE), DIGEST_SIZE))
            mstore(add(input, 0x20), add(27, shr(255, vs)))
            mstore(add(input, 0x40), calldataload(add(receipt, 0x20)))
            mstore(add(input, 0x60), and(vs, not(shl(255, 1))))
            mstore(0x00, 0) // ecrecover returns nothing for a malformed signature
            pop(staticcall(gas(), 1, input, 0x80, 0x00, 0x20))
            signer := mload(0x00)
        }
    }
}
