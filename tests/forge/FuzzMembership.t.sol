// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IRlnMembership} from "../../contracts/interfaces/IRlnMembership.sol";
import {RlnMembership} from "../../contracts/rln/RlnMembership.sol";
import {MembershipBase} from "./MembershipBase.sol";

/// @notice Random steps of everybody around one member, most of which the contract refuses.
contract FuzzMembershipTest is MembershipBase {
    uint256 private constant STEPS = 30;

    IRlnMembership.Record private _record;
    uint256 private _fees;
    uint256 private _given;
    uint256 private _paidUntil;

    /// @dev R1, R3, R5 and S2 after every step; whatever happened, the owner is out a window and a period after it asked.
    function testFuzzNobodyIsRobbedOrKept(uint256 seed) external {
        _record = join();
        _fees = FEE;
        _given = token.balanceOf(payer);
        _paidUntil = START + PERIODS * PERIOD;
        members.commitSlash(members.hashSlash(SECRET, FINDER, SALT));
        for (uint256 i; i < STEPS; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            step(seed);
            sums();
        }
        finish();
    }

    /// @dev R5: however often it is collected, the sum is what the time alone says.
    function testFuzzStreamsAreExact(uint256 seed, uint16 rate, uint64 price) external {
        if (rate == 0) return;
        members = new RlnMembership(address(token), 1, PERIOD, WINDOW, STAKE_PER_RATE, price);
        vm.prank(payer);
        token.approve(address(members), type(uint256).max);
        vm.prank(payer);
        members.register(ID, rate, HOME, PERIODS);
        _record = recordOf(ID, 0);
        _record.rate = rate;
        uint256 elapsed;
        for (uint256 i; i < 15; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            elapsed += seed % (PERIOD / 3);
            vm.warp(START + elapsed);
            collect(_record);
            uint256 streamed = elapsed < PERIODS * PERIOD ? elapsed : PERIODS * PERIOD;
            uint256 gross = uint256(price) * rate * streamed / PERIOD;
            eq(token.balanceOf(HOME), gross * 4 / 5);
            eq(token.balanceOf(BURN), gross - gross * 4 / 5);
        }
    }

    function step(uint256 seed) private {
        // forge-lint: disable-next-line(unsafe-typecast)
        uint32 periods = uint32((seed >> 16) % 3);
        uint256 action = seed % 8;
        IRlnMembership.Record[] memory records = new IRlnMembership.Record[](1);
        records[0] = _record;
        bytes[7] memory calls = [
            abi.encodeCall(members.extend, (_record, periods)),
            abi.encodeCall(members.collect, (HOME, records)),
            abi.encodeCall(members.collect, (HOME, records)),
            abi.encodeCall(members.exit, (_record)),
            abi.encodeCall(members.expire, (_record)),
            abi.encodeCall(members.withdraw, (_record)),
            abi.encodeCall(members.slash, (SECRET, FINDER, SALT, _record))
        ];
        if (action == 7 || (action == 6 && seed >> 64 & 3 != 0)) {
            vm.roll(block.number + (seed >> 32) % 9);
            return vm.warp(block.timestamp + (seed >> 128) % PERIOD);
        }
        vm.prank(action == 4 ? thief : payer);
        (bool done, bytes memory reason) = address(members).call(calls[action]);
        if (done && action == 0) {
            _fees += periods * FEE / PERIODS;
            _given -= periods * FEE / PERIODS;
            _paidUntil += periods * PERIOD;
        }
        // Whatever is refused is refused by name: no panic.
        if (!done && bytes4(reason) == bytes4(keccak256("Panic(uint256)"))) revert NotEqual(action, periods);
    }

    function sums() private view {
        uint256 home = token.balanceOf(HOME);
        uint256 back = token.balanceOf(payer) - _given;
        uint256 finder = token.balanceOf(FINDER);
        uint256 burned = token.balanceOf(BURN);
        // R1: what is here, and what went where, is what came.
        eq(token.balanceOf(address(members)), members.total());
        eq(members.total() + home + back + finder + burned + token.balanceOf(thief), STAKE + _fees);
        // R5: never more than four fifths of what time and payment allow.
        uint256 until = block.timestamp < _paidUntil ? block.timestamp : _paidUntil;
        uint256 most = (until - START) * RATE * FEE_PER_RATE / PERIOD * 4 / 5;
        if (home > most) revert NotEqual(home, most);
        bool ended = members.member(ID).recordHash == ENDED;
        if (!ended && (finder != 0 || back != 0)) revert NotEqual(finder, back);
        if (!ended) return;
        eq(members.total(), 0);
        // R3, S2: it ended by one slash, that burned four fifths of the stake, or by one withdrawal.
        if (finder != 0) {
            eq(finder + token.balanceOf(thief), STAKE / 5);
            eq(back, 0);
            if (burned < STAKE * 4 / 5) revert NotEqual(burned, STAKE * 4 / 5);
        } else {
            eq(back + token.balanceOf(thief), STAKE + _fees - home - burned);
            eq(home / 4, burned); // a fifth
        }
    }

    function finish() private {
        if (members.member(ID).recordHash == ENDED) return;
        if (members.member(ID).leftAt == 0) exit(_record);
        vm.warp(block.timestamp + PERIOD + WINDOW);
        members.withdraw(_record);
        sums();
        eq(members.total(), 0);
    }
}
