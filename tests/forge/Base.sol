// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {RefusingToken} from "../../contracts/mocks/RefusingToken.sol";

/// @notice The part of forge's cheat codes that these tests use.
interface Vm {
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function prank(address sender) external;
    function warp(uint256 timestamp) external;
    function roll(uint256 number) external;
    function expectRevert(bytes calldata reason) external;
    function expectEmit(address emitter) external;
    function expectEmit(address emitter, uint64 count) external;
    function expectCall(address callee, bytes calldata data, uint64 count) external;
    function etch(address account, bytes calldata code) external;
}

/// @notice Actors with keys, a token that can be told to refuse, signatures and comparisons.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 internal constant START = 1_800_000_000;
    uint256 internal constant PAYER_KEY = 0xA11CE;
    uint256 internal constant PAYEE_KEY = 0xB0B;
    uint256 internal constant SIGNER_KEY = 0x51617;
    uint256 internal constant THIEF_KEY = 0x7E1F;

    address internal immutable payer = vm.addr(PAYER_KEY);
    address internal immutable payee = vm.addr(PAYEE_KEY);
    address internal immutable signer = vm.addr(SIGNER_KEY);
    address internal immutable thief = vm.addr(THIEF_KEY);

    RefusingToken internal token;

    error NotEqual(uint256 given, uint256 expected);

    function eq(uint256 given, uint256 expected) internal pure {
        if (given != expected) revert NotEqual(given, expected);
    }

    function eq(address given, address expected) internal pure {
        eq(uint160(given), uint160(expected));
    }

    function typed(bytes32 domain, bytes32 structHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function signature(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function compact(uint256 key, bytes32 digest) internal pure returns (bytes32 r, bytes32 vs) {
        uint8 v;
        (v, r, vs) = vm.sign(key, digest);
        vs = bytes32(uint256(vs) | (uint256(v - 27) << 255));
    }

    function domainOf(string memory name, address target) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256("1"),
                block.chainid,
                target
            )
        );
    }
}
