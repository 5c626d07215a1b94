// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IRlnMembership} from "../../contracts/interfaces/IRlnMembership.sol";
import {Deposits} from "../../contracts/libraries/Deposits.sol";
import {RefusingToken} from "../../contracts/mocks/RefusingToken.sol";
import {RlnMembership} from "../../contracts/rln/RlnMembership.sol";
import {Base} from "./Base.sol";

/// @notice Two leaves, a payer with tokens, a home node, and two secrets with what they hash to.
abstract contract MembershipBase is Base {
    uint40 internal constant PERIOD = 1000;
    uint40 internal constant WINDOW = 300;
    uint96 internal constant STAKE_PER_RATE = 50;
    uint96 internal constant FEE_PER_RATE = 20;
    uint16 internal constant RATE = 10;
    uint32 internal constant PERIODS = 3;
    uint256 internal constant STAKE = 500;
    uint256 internal constant FEE = 600;

    uint256 internal constant FIELD = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    uint256 internal constant SECRET = 1;
    uint256 internal constant ID = 0x29176100eaa962bdc1fe6c654d6a3c130e96a4d1168b33848b897dc502820133;
    bytes32 internal constant SALT = bytes32(uint256(5));
    bytes32 internal constant ENDED = bytes32(uint256(1));
    address internal constant HOME = address(0x40E);
    address internal constant FINDER = address(0xF1);
    address internal constant BURN = 0x000000000000000000000000000000000000dEaD;

    RlnMembership internal members;
    Deposits.Permit internal none;

    function setUp() public virtual {
        vm.warp(START);
        vm.roll(1000);
        token = new RefusingToken();
        members = new RlnMembership(address(token), 1, PERIOD, WINDOW, STAKE_PER_RATE, FEE_PER_RATE);
        token.mint(payer, 1 << 100);
        vm.prank(payer);
        token.approve(address(members), type(uint256).max);
    }

    function recordOf(uint256 idCommitment, uint32 index) internal view returns (IRlnMembership.Record memory) {
        return IRlnMembership.Record({
            idCommitment: idCommitment,
            owner: payer,
            homeNode: HOME,
            index: index,
            rate: RATE,
            start: uint40(START),
            periods: PERIODS
        });
    }

    function register(uint256 idCommitment) internal {
        vm.prank(payer);
        members.register(idCommitment, RATE, HOME, PERIODS);
    }

    /// @dev The first member, registered at START.
    function join() internal returns (IRlnMembership.Record memory) {
        register(ID);
        return recordOf(ID, 0);
    }

    function extend(IRlnMembership.Record memory record, uint32 periods) internal {
        vm.prank(payer);
        members.extend(record, periods);
    }

    function exit(IRlnMembership.Record memory record) internal {
        vm.prank(payer);
        members.exit(record);
    }

    function expire(IRlnMembership.Record memory record) internal {
        vm.prank(thief);
        members.expire(record);
    }

    function collect(IRlnMembership.Record memory record) internal returns (uint256) {
        IRlnMembership.Record[] memory records = new IRlnMembership.Record[](1);
        records[0] = record;
        return members.collect(HOME, records);
    }

    /// @dev Commits now, and moves to the first block in which it can be revealed.
    function commit(uint256 secret, address receiver) internal {
        members.commitSlash(members.hashSlash(secret, receiver, SALT));
        vm.roll(block.number + 2);
    }

    function domain() internal view returns (bytes32) {
        return domainOf("Waypost RlnMembership", address(members));
    }

    function refused(bytes memory reason) internal {
        vm.expectRevert(reason);
    }

    function wrong(uint256 idCommitment) internal {
        refused(abi.encodeWithSelector(IRlnMembership.WrongRecord.selector, idCommitment));
    }

    function tooEarly(uint256 until) internal {
        refused(abi.encodeWithSelector(IRlnMembership.TooEarly.selector, block.timestamp, until));
    }

    function left(uint256 since) internal {
        refused(abi.encodeWithSelector(IRlnMembership.AlreadyLeft.selector, ID, since));
    }

    function eq(bytes32 given, bytes32 expected) internal pure {
        eq(uint256(given), uint256(expected));
    }

    /// @dev What has changed of the first member since registration.
    function has(bytes32 recordHash, uint256 added, uint256 collectedAt, uint256 leftAt, uint256 expired)
        internal
        view
    {
        IRlnMembership.Member memory member = members.member(ID);
        eq(member.recordHash, recordHash);
        eq(member.added, added);
        eq(member.collectedAt, collectedAt);
        eq(member.leftAt, leftAt);
        eq(member.expired ? 1 : 0, expired);
    }

    /// @dev R1, and who has what.
    function holds(uint256 total, uint256 home, uint256 burned) internal view {
        eq(members.total(), total);
        eq(token.balanceOf(address(members)), total);
        eq(token.balanceOf(HOME), home);
        eq(token.balanceOf(BURN), burned);
    }
}
