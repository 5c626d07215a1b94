// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {INodeRegistry} from "../../contracts/interfaces/INodeRegistry.sol";
import {RegistryBase} from "./RegistryBase.sol";

/// @notice Random steps of an operator and its slasher, most of which the registry refuses.
contract FuzzRegistryTest is RegistryBase {
    uint256 private constant STEPS = 30;

    /// @dev N1, N2, S2 and S5 after every step; N5: whatever happened, the operator is out two unbonding times after it asked.
    function testFuzzNobodyIsRobbedOrKept(uint256 seed) external {
        stake(1000);
        for (uint256 i; i < STEPS; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint256 reach = reachable();
            uint256 leaves = registry.provisionOf(operator, SLASHER).thawedAt;
            uint256 paid = token.balanceOf(VICTIM);
            uint256 out = token.balanceOf(thief);
            step(seed);
            // S5: what a slasher reaches falls by slashing, or by a withdrawal that was not too early.
            uint256 slashed = token.balanceOf(VICTIM) - paid;
            uint256 left = token.balanceOf(thief) - out;
            if (left != 0 && block.timestamp < leaves) revert NotEqual(block.timestamp, leaves);
            if (reachable() + 2 * slashed + left < reach) revert NotEqual(reachable(), reach);
            eq(token.balanceOf(BURN), token.balanceOf(VICTIM)); // S2
            sums();
        }
        depart();
    }

    function step(uint256 seed) private {
        // forge-lint: disable-next-line(unsafe-typecast)
        uint96 amount = uint96((seed >> 16) % 700);
        uint256 action = seed % 9;
        bytes[8] memory calls = [
            abi.encodeCall(registry.provision, (SLASHER, amount)),
            abi.encodeCall(registry.thaw, (SLASHER, amount)),
            abi.encodeCall(registry.cancelThaw, (SLASHER)),
            abi.encodeCall(registry.withdraw, (SLASHER, thief)),
            abi.encodeCall(registry.stake, (amount)),
            abi.encodeCall(registry.lock, (operator, amount)),
            abi.encodeCall(registry.unlock, (operator, amount)),
            abi.encodeCall(registry.slash, (operator, amount % 100, VICTIM))
        ];
        if (action == 8) return vm.warp(block.timestamp + (seed >> 128) % UNBONDING);
        vm.prank(action < 5 ? operator : SLASHER);
        (bool done, bytes memory reason) = address(registry).call(calls[action]);
        // Whatever is refused is refused by name: no panic.
        if (!done && bytes4(reason) == bytes4(keccak256("Panic(uint256)"))) revert NotEqual(action, amount);
    }

    function depart() private {
        // forge-lint: disable-next-line(unsafe-typecast)
        uint96 backing = uint96(registry.provisionOf(operator, SLASHER).amount);
        if (backing != 0) thaw(backing);
        vm.warp(block.timestamp + 2 * UNBONDING);
        if (registry.provisionOf(operator, SLASHER).thawing != 0) withdraw();
        has(0, 0, 0, 0);
    }

    function reachable() private view returns (uint256) {
        return uint256(registry.provisionOf(operator, SLASHER).amount) + registry.provisionOf(operator, SLASHER).thawing;
    }

    function sums() private view {
        INodeRegistry.Provision memory entry = registry.provisionOf(operator, SLASHER);
        has(entry.amount, entry.thawing, entry.thawedAt, entry.locked);
        if (entry.locked > reachable()) revert NotEqual(entry.locked, reachable()); // N4
    }
}
