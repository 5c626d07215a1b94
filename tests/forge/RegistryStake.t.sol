// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ICredits} from "../../contracts/interfaces/ICredits.sol";
import {INodeRegistry} from "../../contracts/interfaces/INodeRegistry.sol";
import {ReentrantToken} from "../../contracts/mocks/ReentrantToken.sol";
import {RefusingToken} from "../../contracts/mocks/RefusingToken.sol";
import {NodeRegistry} from "../../contracts/staking/NodeRegistry.sol";
import {RegistryBase} from "./RegistryBase.sol";

/// @notice Stake, provisions, locks and slashing.
contract RegistryStakeTest is RegistryBase {
    function zero() private {
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.ZeroAmount.selector));
    }

    function testStakes() external {
        zero();
        stake(0);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NotRegistered.selector, thief));
        vm.prank(thief);
        registry.stake(1);
        vm.expectEmit(address(registry));
        emit INodeRegistry.Staked(operator, 5, 5);
        stake(5);
        vm.expectEmit(address(registry));
        emit INodeRegistry.Staked(operator, 6, 11);
        stake(6);
        eq(registry.node(operator).stake, 11);
        eq(registry.provisionOf(operator, address(0)).amount, 11);
        has(0, 0, 0, 0);
        vm.prank(operator);
        registry.thaw(address(0), 4);
        has(0, 0, 0, 0);
        uint96 room = type(uint96).max - 11;
        tooMuch(uint256(room) + 1, room);
        stake(room + 1);
        stake(room);
        eq(registry.total(), type(uint96).max);
    }

    function testProvisions() external {
        stake(10);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.InvalidSlasher.selector, address(0)));
        vm.prank(operator);
        registry.provision(address(0), 1);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.InvalidSlasher.selector, registry));
        vm.prank(operator);
        registry.provision(address(registry), 1);
        zero();
        vm.prank(operator);
        registry.provision(SLASHER, 0);
        tooMuch(11, 10);
        vm.prank(operator);
        registry.provision(SLASHER, 11);
        vm.expectEmit(address(registry));
        emit INodeRegistry.Provisioned(operator, SLASHER, 4, 4);
        vm.prank(operator);
        registry.provision(SLASHER, 4);
        vm.expectEmit(address(registry));
        emit INodeRegistry.Provisioned(operator, SLASHER, 6, 10);
        vm.prank(operator);
        registry.provision(SLASHER, 6);
        has(10, 0, 0, 0);
        (address[] memory slashers, INodeRegistry.Provision[] memory all) = registry.provisions(operator);
        eq(slashers.length, 2);
        eq(all.length, 2);
        eq(slashers[0], address(0));
        eq(slashers[1], SLASHER);
        eq(all[0].amount, 0);
        eq(all[1].amount, 10);
    }

    function testThaws() external {
        provide(10);
        zero();
        thaw(0);
        tooMuch(11, 10);
        thaw(11);
        vm.expectEmit(address(registry));
        emit INodeRegistry.Thawing(operator, SLASHER, 4, uint40(START + UNBONDING));
        thaw(4);
        has(6, 4, START + UNBONDING, 0);
        vm.warp(START + 100);
        thaw(1);
        has(5, 5, START + 100 + UNBONDING, 0);
        vm.expectEmit(address(registry));
        emit INodeRegistry.ThawCancelled(operator, SLASHER, 5);
        vm.prank(operator);
        registry.cancelThaw(SLASHER);
        has(10, 0, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NothingThawing.selector, operator, SLASHER));
        vm.prank(operator);
        registry.cancelThaw(SLASHER);
    }

    function testWithdraws() external {
        provide(10);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NothingThawing.selector, operator, SLASHER));
        withdraw();
        thaw(4);
        address[3] memory nowhere = [address(0), address(token), address(registry)];
        vm.warp(START + UNBONDING);
        for (uint256 i; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidReceiver.selector, nowhere[i]));
            vm.prank(operator);
            registry.withdraw(SLASHER, nowhere[i]);
        }
        vm.warp(START + UNBONDING - 1);
        refused(INodeRegistry.TooEarly.selector, START + UNBONDING - 1, START + UNBONDING); // S5
        withdraw();
        vm.warp(START + UNBONDING);
        vm.expectEmit(address(registry));
        emit INodeRegistry.Withdrawn(operator, SLASHER, thief, 4);
        withdraw();
        eq(token.balanceOf(thief), 4);
        has(6, 0, 0, 0);
    }

    function testLocks() external {
        provide(10);
        zero();
        lock(0);
        zero();
        unlock(0);
        tooMuch(11, 10);
        lock(11);
        vm.expectEmit(address(registry));
        emit INodeRegistry.Locked(operator, SLASHER, 4, 4);
        lock(4);
        tooMuch(7, 6);
        lock(7);
        vm.expectEmit(address(registry));
        emit INodeRegistry.Locked(operator, SLASHER, 6, 10);
        lock(6);
        vm.expectEmit(address(registry));
        emit INodeRegistry.Unlocked(operator, SLASHER, 3, 7);
        unlock(3);
        vm.expectEmit(address(registry));
        emit INodeRegistry.Unlocked(operator, SLASHER, 7, 0);
        unlock(99);
        has(10, 0, 0, 0);
    }

    function testLocksWhatThawsUntilItMayLeave() external {
        provide(10);
        thaw(4);
        vm.warp(START + UNBONDING - 1);
        lock(7);
        has(6, 4, START + UNBONDING, 7);
        vm.warp(START + UNBONDING);
        tooMuch(1, 0); // what may leave at once backs nothing
        lock(1);
        unlock(2);
        tooMuch(2, 1);
        lock(2);
        lock(1);
        has(6, 4, START + UNBONDING, 6);
    }

    function testALockHoldsForOneMoreUnbonding() external {
        provide(10);
        lock(8);
        thaw(10);
        uint256 end = START + 2 * UNBONDING;
        vm.warp(START + UNBONDING);
        withdraw(); // N4: two are free
        eq(token.balanceOf(thief), 2);
        has(0, 8, START + UNBONDING, 8);
        vm.warp(end - 1);
        refused(INodeRegistry.StakeLocked.selector, 8, end);
        withdraw();
        vm.warp(end);
        withdraw(); // N5
        eq(token.balanceOf(thief), 10);
        has(0, 0, 0, 0);
    }

    function testALockOnWhatStaysHoldsOn() external {
        provide(10);
        lock(8);
        thaw(5);
        vm.warp(START + UNBONDING);
        withdraw(); // three of what thaws are locked, beside the five that stay
        eq(token.balanceOf(thief), 2);
        has(5, 3, START + UNBONDING, 8);
        vm.warp(START + 2 * UNBONDING);
        withdraw();
        has(5, 0, 0, 5);
    }

    function testALockWithinTheBackingDelaysNothing() external {
        provide(10);
        lock(5);
        thaw(5);
        vm.warp(START + UNBONDING);
        withdraw();
        has(5, 0, 0, 5);
    }

    function testSlashes() external {
        provide(20);
        zero();
        slash(0);
        address[3] memory nowhere = [address(0), address(token), address(registry)];
        for (uint256 i; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidReceiver.selector, nowhere[i]));
            vm.prank(SLASHER);
            registry.slash(operator, 1, nowhere[i]);
        }
        tooMuch(2, 0); // N3
        vm.prank(thief);
        registry.slash(operator, 1, thief);
        lock(3);
        tooMuch(18, 17);
        slash(9);
        vm.expectEmit(address(registry));
        emit INodeRegistry.Slashed(operator, SLASHER, VICTIM, 8);
        slash(8);
        eq(token.balanceOf(VICTIM), 8); // S2
        eq(token.balanceOf(BURN), 8);
        has(4, 0, 0, 3);
        unlock(3);
        slash(2);
        has(0, 0, 0, 0);
    }

    function testSlashesWhatThawsFirst() external {
        provide(20);
        thaw(6);
        slash(2);
        has(14, 2, START + UNBONDING, 0);
        slash(1);
        has(14, 0, 0, 0);
        thaw(4);
        slash(5);
        has(4, 0, 0, 0);
        thaw(4);
        vm.warp(START + 3 * UNBONDING);
        slash(2); // slashable to the end
        has(0, 0, 0, 0);
        eq(token.balanceOf(VICTIM), 10);
        eq(token.balanceOf(BURN), 10);
    }

    function testRefusedPaymentsOfASlashAreCredits() external {
        provide(20);
        token.refuse(VICTIM, RefusingToken.Refusal.Revert);
        token.refuse(BURN, RefusingToken.Refusal.ReturnFalse);
        slash(5);
        eq(registry.credit(VICTIM, address(token)), 5);
        eq(registry.credit(BURN, address(token)), 5);
        has(10, 0, 0, 0);
        vm.prank(VICTIM);
        registry.withdrawCredit(address(token), thief);
        eq(token.balanceOf(thief), 5);
        token.refuse(BURN, RefusingToken.Refusal.None);
        registry.sweep();
        eq(token.balanceOf(BURN), 5);
        vm.expectRevert(abi.encodeWithSelector(ICredits.NothingToWithdraw.selector, BURN, token));
        registry.sweep();
    }

    function testNoTokenComesBackIn() external {
        ReentrantToken hostile = new ReentrantToken();
        registry = new NodeRegistry(address(hostile), MIN_STAKE, UNBONDING);
        hostile.mint(operator, 100);
        vm.prank(operator);
        hostile.approve(address(registry), 100);
        register(operator, SIGNER_KEY);
        bytes[9] memory calls = [
            abi.encodeCall(registry.stake, (1)),
            abi.encodeCall(registry.provision, (SLASHER, 1)),
            abi.encodeCall(registry.thaw, (SLASHER, 1)),
            abi.encodeCall(registry.cancelThaw, (SLASHER)),
            abi.encodeCall(registry.withdraw, (SLASHER, thief)),
            abi.encodeCall(registry.lock, (operator, 1)),
            abi.encodeCall(registry.unlock, (operator, 1)),
            abi.encodeCall(registry.slash, (operator, 1, thief)),
            abi.encodeCall(registry.sweep, ())
        ];
        for (uint256 i; i < calls.length; ++i) {
            hostile.arm(address(registry), calls[i]);
            stake(1);
            eq(hostile.called() ? 1 : 0, 1);
            eq(uint32(bytes4(hostile.answer())), uint32(bytes4(keccak256("ReentrancyGuardReentrantCall()"))));
        }
    }
}
