// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ICredits} from "../../contracts/interfaces/ICredits.sol";
import {IPoseidon} from "../../contracts/interfaces/IPoseidon.sol";
import {IRlnMembership} from "../../contracts/interfaces/IRlnMembership.sol";
import {RefusingToken} from "../../contracts/mocks/RefusingToken.sol";
import {MembershipBase} from "./MembershipBase.sol";

/// @notice Commits, reveals, and what a slash leaves.
contract MembershipSlashTest is MembershipBase {
    uint256 private constant END = START + 3 * PERIOD;

    function slash(IRlnMembership.Record memory record) private {
        vm.prank(thief); // anybody
        members.slash(SECRET, FINDER, SALT, record);
    }

    function testHashesAsTheCircuitDoes() external view {
        IPoseidon poseidon = IPoseidon(members.poseidon());
        eq(poseidon.hash([SECRET]), ID);
        eq(poseidon.hash([uint256(0)]), 19014214495641488759237505126948346942972912379615652741039992445865937985820);
        eq(poseidon.hash([SECRET + FIELD]), ID);
    }

    function testCommits() external {
        bytes32 slashHash = keccak256(abi.encode(SECRET, FINDER, SALT));
        eq(members.hashSlash(SECRET, FINDER, SALT), slashHash);
        eq(members.committedAt(slashHash), 0);
        vm.expectEmit(address(members));
        emit IRlnMembership.SlashCommitted(slashHash);
        members.commitSlash(slashHash);
        eq(members.committedAt(slashHash), 1000);
        vm.roll(1005);
        members.commitSlash(slashHash); // the first one stands
        eq(members.committedAt(slashHash), 1000);
    }

    function outOfRange() private {
        refused(abi.encodeWithSelector(IRlnMembership.RevealOutOfRange.selector, block.number, 1002, 1256));
    }

    function testRevealsFrom2To256BlocksLater() external {
        IRlnMembership.Record memory record = join();
        bytes32 slashHash = members.hashSlash(SECRET, FINDER, SALT);
        refused(abi.encodeWithSelector(IRlnMembership.NotCommitted.selector, slashHash));
        slash(record);
        members.commitSlash(slashHash);
        outOfRange();
        slash(record);
        vm.roll(1001);
        outOfRange();
        slash(record);
        vm.roll(1257);
        outOfRange();
        slash(record);
        vm.roll(1256);
        slash(record);
        eq(members.committedAt(slashHash), 0);
    }

    function testReveals2BlocksLater() external {
        IRlnMembership.Record memory record = join();
        commit(SECRET, FINDER);
        eq(block.number, 1002);
        slash(record);
        has(ENDED, 0, 0, 0, 0);
    }

    function testBurnsFourFifths() external {
        IRlnMembership.Record memory record = join();
        commit(SECRET, FINDER);
        vm.warp(START + PERIOD + 34);
        uint256[] memory ids = new uint256[](1);
        ids[0] = ID;
        // 206 have streamed: 164 to the home node, 42 to the fire.
        vm.expectEmit(address(members));
        emit IRlnMembership.Slashed(ID, FINDER, 0, SECRET, 100, 400 + 394);
        vm.expectEmit(address(members));
        emit IRlnMembership.Collected(HOME, 164, 42, ids);
        slash(record);
        eq(token.balanceOf(FINDER), 100);
        holds(0, 164, 400 + 394 + 42);
        has(ENDED, 0, 0, 0, 0);
        commit(SECRET, FINDER);
        wrong(ID);
        slash(record); // R3
        refused(abi.encodeWithSelector(IRlnMembership.AlreadyRegistered.selector, ID));
        register(ID);
        vm.warp(START + 99 * PERIOD);
        register(2);
        refused(abi.encodeWithSelector(IRlnMembership.TreeFull.selector, 2)); // R2
        register(3);
    }

    function testBurnsFourFifthsOfWhoExited() external {
        IRlnMembership.Record memory record = join();
        extend(record, 1);
        vm.warp(START + 100);
        exit(record);
        vm.warp(START + 300);
        eq(collect(record), 48);
        vm.warp(START + 9 * PERIOD);
        commit(SECRET, FINDER);
        slash(record);
        eq(token.balanceOf(FINDER), 100);
        holds(0, 160, 400 + 600 + 40); // the period that had begun is the home node's
        wrong(ID);
        members.withdraw(record);
    }

    function testBurnsFourFifthsOfWhoExpired() external {
        IRlnMembership.Record memory record = join();
        vm.warp(END);
        expire(record);
        commit(SECRET, FINDER);
        slash(record);
        eq(token.balanceOf(FINDER), 50); // S2: with what expire paid, a fifth
        eq(token.balanceOf(thief), 50);
        holds(0, 480, 400 + 120);
    }

    function testPaysNoHomeNodeBeforeAnythingStreams() external {
        IRlnMembership.Record memory record = join();
        commit(SECRET, FINDER);
        uint256[] memory ids = new uint256[](1);
        ids[0] = ID;
        vm.expectEmit(address(members), 0);
        emit IRlnMembership.Collected(HOME, 0, 0, ids);
        slash(record);
        eq(token.balanceOf(FINDER), 100);
        holds(0, 0, 400 + 600);
    }

    /// @dev Four fifths rounded down: of the first unit nothing, of the first two as much as the fire gets.
    function slashAt(uint256 elapsed, uint256 paid) private {
        IRlnMembership.Record memory record = join();
        commit(SECRET, FINDER);
        vm.warp(START + elapsed);
        uint256[] memory ids = new uint256[](1);
        ids[0] = ID;
        vm.expectEmit(address(members));
        emit IRlnMembership.Collected(HOME, paid, 1, ids);
        slash(record);
        holds(0, paid, 400 + 600 - paid);
    }

    function testBurnsTheFirstUnitThatStreams() external {
        slashAt(5, 0);
    }

    function testSharesTheFirstTwo() external {
        slashAt(10, 1);
    }

    function testRefusesOtherSecretsAndRecords() external {
        IRlnMembership.Record memory record = join();
        commit(3, FINDER);
        uint256 other = IPoseidon(members.poseidon()).hash([uint256(3)]);
        refused(abi.encodeWithSelector(IRlnMembership.WrongSecret.selector, other, ID));
        members.slash(3, FINDER, SALT, record);
        commit(FIELD, FINDER);
        refused(abi.encodeWithSelector(IRlnMembership.InvalidSecret.selector, FIELD));
        members.slash(FIELD, FINDER, SALT, record);
        commit(FIELD + SECRET, FINDER);
        refused(abi.encodeWithSelector(IRlnMembership.InvalidSecret.selector, FIELD + SECRET));
        members.slash(FIELD + SECRET, FINDER, SALT, record);
        commit(FIELD - 1, FINDER);
        other = IPoseidon(members.poseidon()).hash([FIELD - 1]);
        refused(abi.encodeWithSelector(IRlnMembership.WrongSecret.selector, other, ID));
        members.slash(FIELD - 1, FINDER, SALT, record);
        commit(SECRET, FINDER);
        record.rate++;
        wrong(ID);
        slash(record);
        address[3] memory nowhere = [address(0), address(token), address(members)];
        for (uint256 i; i < 3; ++i) {
            commit(SECRET, nowhere[i]);
            vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidReceiver.selector, nowhere[i]));
            members.slash(SECRET, nowhere[i], SALT, record);
        }
    }

    function testNobodyWhoCannotBePaidStopsIt() external {
        IRlnMembership.Record memory record = join();
        token.refuse(FINDER, RefusingToken.Refusal.Revert);
        token.refuse(BURN, RefusingToken.Refusal.ReturnFalse);
        token.refuse(HOME, RefusingToken.Refusal.BurnGas);
        commit(SECRET, FINDER);
        vm.warp(START + PERIOD);
        members.slash{gas: 5_000_000}(SECRET, FINDER, SALT, record);
        eq(members.credit(FINDER, address(token)), 100);
        eq(members.credit(HOME, address(token)), 160);
        eq(members.credit(BURN, address(token)), 400 + 400 + 40);
        eq(members.total(), 0);
        eq(token.balanceOf(address(members)), 1100);
    }
}
