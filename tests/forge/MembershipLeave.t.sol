// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ICredits} from "../../contracts/interfaces/ICredits.sol";
import {IRlnMembership} from "../../contracts/interfaces/IRlnMembership.sol";
import {RefusingToken} from "../../contracts/mocks/RefusingToken.sol";
import {MembershipBase} from "./MembershipBase.sol";

/// @notice Fees that stream, and the ways out. A fee of 600 streams in 3,000 seconds: a unit every 5.
contract MembershipLeaveTest is MembershipBase {
    uint256 private constant END = START + 3 * PERIOD;

    function collected(uint256 paid, uint256 burned, uint256 count) private {
        uint256[] memory ids = new uint256[](count);
        if (count != 0) ids[0] = ID;
        vm.expectEmit(address(members));
        emit IRlnMembership.Collected(HOME, paid, burned, ids);
    }

    function collectable(IRlnMembership.Record memory record, uint256 paid, uint256 burned) private view {
        (uint256 toHome, uint256 toFire) = members.collectable(record);
        eq(toHome, paid);
        eq(toFire, burned);
    }

    // Collect

    function testStreams() external {
        IRlnMembership.Record memory record = join();
        vm.warp(START + 4);
        collectable(record, 0, 0);
        collected(0, 0, 0);
        eq(collect(record), 0);
        has(members.hashRecord(record), 0, 0, 0, 0);
        vm.warp(START + 5);
        collectable(record, 0, 1); // four fifths of one, rounded down
        collected(0, 1, 1);
        eq(collect(record), 0);
        has(members.hashRecord(record), 0, START + 5, 0, 0);
        vm.warp(START + 10);
        collectable(record, 1, 0);
        collected(1, 0, 1);
        eq(collect(record), 1); // all of the second
        holds(STAKE + FEE - 2, 1, 1);
        vm.warp(START + 34);
        collectable(record, 3, 1);
        collected(3, 1, 1);
        eq(collect(record), 3); // six in all: four and two
        holds(STAKE + FEE - 6, 4, 2);
        vm.warp(START + PERIOD);
        collectable(record, 156, 38);
        eq(collect(record), 156);
        holds(STAKE + 400, 160, 40);
        wrong(9);
        members.collectable(recordOf(9, 0));
    }

    function testStreamsNoFurtherThanWhatIsPaidFor() external {
        IRlnMembership.Record memory record = join();
        vm.warp(END - 1);
        collectable(record, 479, 120);
        vm.warp(END + PERIOD);
        collectable(record, 480, 120);
        eq(collect(record), 480);
        has(members.hashRecord(record), 0, END, 0, 0);
        holds(STAKE, 480, 120);
        eq(collect(record), 0);
        extend(record, 1);
        collectable(record, 160, 40); // late: for the time in between
    }

    function testCollectsFromMembersOfOneHomeNode() external {
        IRlnMembership.Record[] memory records = new IRlnMembership.Record[](3);
        (records[0], records[2]) = (join(), recordOf(2, 1));
        records[1] = records[0];
        register(2);
        vm.warp(START + PERIOD);
        uint256[] memory ids = new uint256[](2);
        (ids[0], ids[1]) = (ID, 2);
        vm.expectEmit(address(members));
        emit IRlnMembership.Collected(HOME, 320, 80, ids);
        eq(members.collect(HOME, records), 320);
        holds(2 * STAKE + 800, 320, 80);
        vm.warp(START + 2 * PERIOD);
        eq(members.collect(thief, records), 0);
        holds(2 * STAKE + 800, 320, 80); // nothing is burned, either
        refused(abi.encodeWithSelector(IRlnMembership.BatchTooLarge.selector, 501, 500));
        members.collect(HOME, new IRlnMembership.Record[](501));
        eq(members.collect(HOME, new IRlnMembership.Record[](500)), 0);
    }

    function testWhatCannotBePaidIsCredited() external {
        IRlnMembership.Record memory record = join();
        token.refuse(HOME, RefusingToken.Refusal.Revert);
        token.refuse(BURN, RefusingToken.Refusal.ReturnFalse);
        vm.warp(START + PERIOD);
        eq(collect(record), 160);
        eq(members.credit(HOME, address(token)), 160);
        eq(members.credit(BURN, address(token)), 40);
        eq(members.total(), STAKE + 400);
        token.refuse(BURN, RefusingToken.Refusal.None);
        members.sweep();
        eq(token.balanceOf(BURN), 40);
        vm.expectRevert(abi.encodeWithSelector(ICredits.NothingToWithdraw.selector, BURN, token));
        members.sweep();
    }

    // Exit

    function testExits() external {
        IRlnMembership.Record memory record = join();
        refused(abi.encodeWithSelector(IRlnMembership.NotOwner.selector, thief, payer));
        vm.prank(thief);
        members.exit(record);
        wrong(7);
        exit(recordOf(7, 0));
        vm.warp(START + PERIOD - 1);
        vm.expectEmit(address(members));
        emit IRlnMembership.Exited(ID, 0, START + PERIOD - 1 + WINDOW);
        exit(record);
        has(members.hashRecord(record), 0, 0, START + PERIOD - 1, 0);
        holds(STAKE + FEE, 0, 0);
        left(START + PERIOD - 1);
        exit(record);
        vm.warp(END);
        left(START + PERIOD - 1);
        expire(record);
    }

    function exitAt(uint256 elapsed, uint256 withdrawableAt, uint256 rest) private {
        IRlnMembership.Record memory record = join();
        vm.warp(START + elapsed);
        exit(record);
        eq(members.withdrawableAt(record), START + withdrawableAt);
        vm.warp(START + withdrawableAt - 1);
        tooEarly(START + withdrawableAt);
        members.withdraw(record);
        vm.warp(START + withdrawableAt);
        uint256 before = token.balanceOf(payer);
        vm.expectEmit(address(members));
        emit IRlnMembership.Withdrawn(ID, payer, 0, STAKE + rest);
        members.withdraw(record);
        eq(token.balanceOf(payer), before + STAKE + rest);
        holds(0, (FEE - rest) * 4 / 5, (FEE - rest) / 5);
        has(ENDED, 0, 0, 0, 0);
        wrong(ID);
        members.withdraw(record);
        refused(abi.encodeWithSelector(IRlnMembership.AlreadyRegistered.selector, ID));
        register(ID);
    }

    function testExitsInTheFirstSecond() external {
        exitAt(0, PERIOD, 400);
    }

    function testExitsInTheFirstPeriod() external {
        exitAt(1, PERIOD, 400);
    }

    function testExitsLateInTheFirstPeriod() external {
        exitAt(PERIOD - 1, PERIOD - 1 + WINDOW, 400);
    }

    function testExitsAtTheEndOfAPeriod() external {
        exitAt(PERIOD, PERIOD + WINDOW, 400);
    }

    function testExitsInTheNextPeriod() external {
        exitAt(PERIOD + 1, 2 * PERIOD, 200);
    }

    function testExitsInTheLastPeriod() external {
        exitAt(3 * PERIOD - 5, 3 * PERIOD - 5 + WINDOW, 0);
    }

    function testExitsAfterWhatIsPaidFor() external {
        exitAt(5 * PERIOD + 5, 5 * PERIOD + 5 + WINDOW, 0);
    }

    function testWithdrawsWhatWasAddedAndNotCollected() external {
        IRlnMembership.Record memory record = join();
        refused(abi.encodeWithSelector(IRlnMembership.NotLeft.selector, ID));
        members.withdraw(record);
        extend(record, 2);
        vm.warp(START + PERIOD + 1);
        exit(record);
        vm.warp(START + PERIOD + 500);
        eq(collect(record), 240);
        vm.warp(START + 9 * PERIOD);
        collectable(record, 80, 20);
        uint256[] memory ids = new uint256[](1);
        ids[0] = ID;
        vm.expectEmit(address(members));
        emit IRlnMembership.Collected(HOME, 80, 20, ids);
        members.withdraw(record);
        eq(token.balanceOf(payer), (1 << 100) - 400);
        holds(0, 320, 80);
        wrong(ID);
        members.withdrawableAt(record);
        wrong(ID);
        members.paidUntil(record);
    }

    function testExitsForWhoSigned() external {
        IRlnMembership.Record memory record = join();
        bytes32 structHash = keccak256(abi.encode(keccak256("Exit(uint256 idCommitment,uint40 deadline)"), ID, START));
        bytes memory byOwner = signature(PAYER_KEY, typed(domain(), structHash));
        bytes memory byThief = signature(THIEF_KEY, typed(domain(), structHash));
        vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidSignature.selector, payer));
        members.exitFor(record, uint40(START), byThief);
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(ICredits.DeadlinePassed.selector, START, START + 1));
        members.exitFor(record, uint40(START), byOwner);
        vm.warp(START);
        members.exitFor(record, uint40(START), byOwner);
        has(members.hashRecord(record), 0, 0, START, 0);
    }

    // Expire

    function testExpires() external {
        IRlnMembership.Record memory record = join();
        wrong(7);
        expire(recordOf(7, 0));
        vm.warp(END - 1);
        tooEarly(END);
        expire(record);
        extend(record, 1);
        vm.warp(END + PERIOD - 1);
        tooEarly(END + PERIOD);
        expire(record);
        vm.warp(END + PERIOD);
        vm.expectEmit(address(members));
        emit IRlnMembership.Expired(ID, thief, 0, 50, END + PERIOD + WINDOW);
        expire(record);
        eq(token.balanceOf(thief), 50);
        has(members.hashRecord(record), 1, 0, END + PERIOD, 1);
        holds(STAKE - 50 + 800, 0, 0);
        left(END + PERIOD);
        expire(record);
        left(END + PERIOD);
        exit(record);
        vm.warp(END + PERIOD + WINDOW - 1);
        tooEarly(END + PERIOD + WINDOW);
        members.withdraw(record);
        vm.warp(END + PERIOD + WINDOW);
        members.withdraw(record);
        holds(0, 640, 160);
        eq(token.balanceOf(payer), (1 << 100) - 800 - 50);
    }
}
