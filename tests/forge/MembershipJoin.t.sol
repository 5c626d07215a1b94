// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ICredits} from "../../contracts/interfaces/ICredits.sol";
import {IRlnMembership} from "../../contracts/interfaces/IRlnMembership.sol";
import {Deposits} from "../../contracts/libraries/Deposits.sol";
import {ReentrantToken} from "../../contracts/mocks/ReentrantToken.sol";
import {RlnMembership} from "../../contracts/rln/RlnMembership.sol";
import {MembershipBase} from "./MembershipBase.sol";

/// @notice Construction, registration and extension, in every form.
contract MembershipJoinTest is MembershipBase {
    bytes32 private constant REGISTRATION = keccak256(
        "Registration(address payer,uint256 idCommitment,uint16 rate,address homeNode,uint32 periods,uint40 deadline)"
    );
    bytes32 private constant EXTENSION =
        keccak256("Extension(address payer,uint256 idCommitment,uint32 periods,bytes32 salt,uint40 deadline)");

    function make(uint8 depth, uint40 period, uint40 window, uint96 stake) private {
        new RlnMembership(address(token), depth, period, window, stake, 0);
    }

    function unsafe(uint256 given, uint256 min, uint256 max) private {
        refused(abi.encodeWithSelector(IRlnMembership.ParameterOutOfRange.selector, given, min, max));
    }

    function testIsMadeWithSafeParameters() external view {
        eq(members.token(), address(token));
        eq(members.depth(), 1);
        eq(members.period(), PERIOD);
        eq(members.window(), WINDOW);
        eq(members.stakePerRate(), STAKE_PER_RATE);
        eq(members.feePerRate(), FEE_PER_RATE);
        eq(members.DOMAIN_SEPARATOR(), domain());
        eq(members.BURN_ADDRESS(), BURN);
        eq(members.MAX_COLLECTS(), 500);
    }

    function testRefusesParametersThatAreNotSafe() external {
        vm.expectRevert(abi.encodeWithSelector(Deposits.InvalidToken.selector, thief));
        new RlnMembership(thief, 1, 1, 1, 1, 0);
        unsafe(0, 1, 31);
        make(0, 1, 1, 1);
        unsafe(32, 1, 31);
        make(32, 1, 1, 1);
        make(31, 365 days, 365 days, 1);
        unsafe(0, 1, 365 days);
        make(1, 0, 1, 1);
        unsafe(365 days + 1, 1, 365 days);
        make(1, 365 days + 1, 1, 1);
        unsafe(0, 1, 365 days);
        make(1, 1, 0, 1);
        unsafe(365 days + 1, 1, 365 days);
        make(1, 1, 365 days + 1, 1);
        unsafe(0, 1, type(uint96).max);
        make(1, 1, 1, 0);
    }

    // Register

    function testRegisters() external {
        vm.expectEmit(address(members));
        emit IRlnMembership.Registered(ID, payer, HOME, 0, RATE, uint40(START), PERIODS);
        IRlnMembership.Record memory record = join();
        (uint256 stake, uint256 fee) = members.cost(RATE, PERIODS);
        eq(stake, STAKE);
        eq(fee, FEE);
        holds(STAKE + FEE, 0, 0);
        has(keccak256(abi.encode(record)), 0, 0, 0, 0);
        eq(members.hashRecord(record), keccak256(abi.encode(record)));
        eq(members.leaves(), 1);
        eq(members.paidUntil(record), START + 3 * PERIOD);
        refused(abi.encodeWithSelector(IRlnMembership.NotLeft.selector, ID));
        members.withdrawableAt(record);
        refused(abi.encodeWithSelector(IRlnMembership.AlreadyRegistered.selector, ID));
        register(ID);
        register(FIELD - 1);
        eq(members.leaves(), 2);
        eq(members.total(), 2 * (STAKE + FEE));
        eq(members.paidUntil(recordOf(FIELD - 1, 1)), START + 3 * PERIOD);
    }

    function testRefusesWhatIsNoMembership() external {
        refused(abi.encodeWithSelector(IRlnMembership.InvalidCommitment.selector, 0));
        register(0);
        refused(abi.encodeWithSelector(IRlnMembership.InvalidCommitment.selector, FIELD));
        register(FIELD);
        refused(abi.encodeWithSelector(IRlnMembership.ZeroRate.selector));
        members.register(ID, 0, HOME, 1);
        refused(abi.encodeWithSelector(IRlnMembership.PeriodsOutOfRange.selector, 0, 1, type(uint32).max));
        members.register(ID, 1, HOME, 0);
        address[3] memory nowhere = [address(0), address(token), address(members)];
        for (uint256 i; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidReceiver.selector, nowhere[i]));
            members.register(ID, 1, nowhere[i], 1);
        }
        has(0, 0, 0, 0, 0);
        holds(0, 0, 0);
    }

    function testTakesTheLargestAmount() external {
        token.mint(payer, 1 << 97);
        members = new RlnMembership(address(token), 1, PERIOD, WINDOW, 1, type(uint96).max - 1);
        vm.prank(payer);
        token.approve(address(members), type(uint256).max);
        uint256 most = type(uint96).max;
        refused(abi.encodeWithSelector(IRlnMembership.AmountOutOfRange.selector, 2 * (most - 1) + 1, most));
        vm.prank(payer);
        members.register(ID, 1, HOME, 2);
        vm.prank(payer);
        members.register(ID, 1, HOME, 1);
        eq(members.total(), most);
    }

    function testGivesLeavesAwayAgainWhenAllAreUsed() external {
        IRlnMembership.Record memory first = join();
        register(2);
        IRlnMembership.Record memory second = recordOf(2, 1);
        bytes memory full = abi.encodeWithSelector(IRlnMembership.TreeFull.selector, 2);
        refused(full);
        register(3);
        exit(first);
        exit(second);
        vm.warp(START + PERIOD - 1);
        refused(full);
        register(3);
        vm.warp(START + PERIOD);
        members.withdraw(first);
        members.withdraw(second);
        for (uint32 i; i < 2; ++i) {
            vm.expectEmit(address(members));
            emit IRlnMembership.Registered(3 + i, payer, HOME, 1 - i, RATE, uint40(START + PERIOD), PERIODS);
            register(3 + i);
        }
        refused(full);
        register(5);
        eq(members.leaves(), 2);
    }

    // Register by signature

    function registration() private view returns (IRlnMembership.Registration memory) {
        return IRlnMembership.Registration(payer, ID, RATE, HOME, PERIODS, uint40(START));
    }

    function testRegistersForWhoSigned() external {
        IRlnMembership.Registration memory action = registration();
        bytes32 structHash = keccak256(abi.encode(REGISTRATION, action));
        eq(members.hashRegistration(action), structHash);
        bytes memory byPayer = signature(PAYER_KEY, typed(domain(), structHash));
        bytes memory byThief = signature(THIEF_KEY, typed(domain(), structHash));
        vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidSignature.selector, payer));
        members.registerFor(action, byThief, none);
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(ICredits.DeadlinePassed.selector, START, START + 1));
        members.registerFor(action, byPayer, none);
        vm.warp(START);
        vm.prank(thief);
        members.registerFor(action, byPayer, none);
        has(keccak256(abi.encode(recordOf(ID, 0))), 0, 0, 0, 0);
        holds(STAKE + FEE, 0, 0);
    }

    function authorize(bytes32 nonce, uint256 value) private view returns (Deposits.Authorization memory) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                ),
                payer,
                address(members),
                value,
                0,
                START + 1,
                nonce
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(PAYER_KEY, typed(domainOf("Dev Dollar", address(token)), structHash));
        return Deposits.Authorization(0, START + 1, v, r, s);
    }

    function testRegistersWithAnAuthorization() external {
        IRlnMembership.Registration memory action = registration();
        Deposits.Authorization memory authorization = authorize(members.hashRegistration(action), STAKE + FEE);
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(ICredits.DeadlinePassed.selector, START, START + 1));
        members.registerWithAuthorization(action, authorization);
        vm.warp(START);
        vm.prank(thief);
        members.registerWithAuthorization(action, authorization);
        has(keccak256(abi.encode(recordOf(ID, 0))), 0, 0, 0, 0);
        holds(STAKE + FEE, 0, 0);
    }

    // Extend

    function testExtends() external {
        IRlnMembership.Record memory record = join();
        vm.expectEmit(address(members));
        emit IRlnMembership.Extended(ID, payer, 2, START + 5 * PERIOD);
        extend(record, 2);
        vm.expectEmit(address(members));
        emit IRlnMembership.Extended(ID, payer, 1, START + 6 * PERIOD);
        extend(record, 1);
        has(members.hashRecord(record), 3, 0, 0, 0);
        holds(STAKE + 2 * FEE, 0, 0);
        uint256 room = uint256(type(uint32).max) - 6;
        refused(abi.encodeWithSelector(IRlnMembership.PeriodsOutOfRange.selector, 0, 1, room));
        extend(record, 0);
        refused(abi.encodeWithSelector(IRlnMembership.PeriodsOutOfRange.selector, room + 1, 1, room));
        extend(record, type(uint32).max - 5);
        extend(record, type(uint32).max - 6);
        refused(abi.encodeWithSelector(IRlnMembership.PeriodsOutOfRange.selector, 1, 1, 0));
        extend(record, 1);
        wrong(7);
        extend(recordOf(7, 0), 1);
        exit(record);
        left(START);
        extend(record, 1);
    }

    function testRefusesARecordWithAnyOtherField() external {
        join();
        for (uint256 i; i < 6; ++i) {
            IRlnMembership.Record memory record = recordOf(ID, i == 0 ? 1 : 0);
            if (i == 1) record.owner = thief;
            if (i == 2) record.homeNode = thief;
            if (i == 3) record.rate++;
            if (i == 4) record.start++;
            if (i == 5) record.periods++;
            wrong(ID);
            extend(record, 1);
            eq(collect(record), 0);
        }
    }

    function testRefusesAnExtensionThatDoesNotFit() external {
        members = new RlnMembership(address(token), 1, PERIOD, WINDOW, 1, 1 << 90);
        token.mint(payer, 1 << 98);
        vm.prank(payer);
        token.approve(address(members), type(uint256).max);
        vm.prank(payer);
        members.register(ID, 1, HOME, 1);
        IRlnMembership.Record memory record = recordOf(ID, 0);
        (record.rate, record.periods) = (1, 1);
        refused(abi.encodeWithSelector(IRlnMembership.AmountOutOfRange.selector, 1 << 96, type(uint96).max));
        extend(record, 64);
        extend(record, 63);
    }

    function testExtendsOnceForWhoSignedInEitherForm() external {
        IRlnMembership.Record memory record = join();
        IRlnMembership.Extension memory action = IRlnMembership.Extension(payer, ID, 1, SALT, uint40(START));
        bytes32 structHash = keccak256(abi.encode(EXTENSION, action));
        eq(members.hashExtension(action), structHash);
        bytes memory byPayer = signature(PAYER_KEY, typed(domain(), structHash));
        bytes memory byThief = signature(THIEF_KEY, typed(domain(), structHash));
        Deposits.Authorization memory authorization = authorize(structHash, FEE / 3);
        vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidSignature.selector, payer));
        members.extendFor(action, record, byThief, none);
        register(2);
        wrong(2);
        members.extendFor(action, recordOf(2, 1), byPayer, none);
        wrong(2);
        members.extendWithAuthorization(action, recordOf(2, 1), authorization);
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(ICredits.DeadlinePassed.selector, START, START + 1));
        members.extendFor(action, record, byPayer, none);
        vm.expectRevert(abi.encodeWithSelector(ICredits.DeadlinePassed.selector, START, START + 1));
        members.extendWithAuthorization(action, record, authorization);
        vm.warp(START);
        members.extendFor(action, record, byPayer, none);
        has(members.hashRecord(record), 1, 0, 0, 0);
        bytes memory used = abi.encodeWithSelector(ICredits.AlreadyUsed.selector, typed(domain(), structHash));
        refused(used);
        members.extendFor(action, record, byPayer, none);
        refused(used);
        members.extendWithAuthorization(action, record, authorization);
        action.salt = 0;
        authorization = authorize(members.hashExtension(action), FEE / 3);
        members.extendWithAuthorization(action, record, authorization);
        refused(abi.encodeWithSelector(ICredits.AlreadyUsed.selector, typed(domain(), members.hashExtension(action))));
        members.extendWithAuthorization(action, record, authorization);
        has(members.hashRecord(record), 2, 0, 0, 0);
        eq(members.total(), 2 * (STAKE + FEE) + FEE / 3 * 2);
    }

    function testNoTokenComesBackIn() external {
        ReentrantToken hostile = new ReentrantToken();
        members = new RlnMembership(address(hostile), 4, PERIOD, WINDOW, STAKE_PER_RATE, FEE_PER_RATE);
        hostile.mint(payer, 1 << 100);
        vm.prank(payer);
        hostile.approve(address(members), type(uint256).max);
        IRlnMembership.Record memory record = join();
        IRlnMembership.Registration memory action = registration();
        IRlnMembership.Extension memory extension = IRlnMembership.Extension(payer, ID, 1, SALT, uint40(START));
        Deposits.Authorization memory authorization;
        bytes[14] memory calls = [
            abi.encodeCall(members.register, (2, 1, HOME, 1)),
            abi.encodeCall(members.registerFor, (action, "", none)),
            abi.encodeCall(members.registerWithAuthorization, (action, authorization)),
            abi.encodeCall(members.extend, (record, 1)),
            abi.encodeCall(members.extendFor, (extension, record, "", none)),
            abi.encodeCall(members.extendWithAuthorization, (extension, record, authorization)),
            abi.encodeCall(members.collect, (HOME, new IRlnMembership.Record[](0))),
            abi.encodeCall(members.exit, (record)),
            abi.encodeCall(members.exitFor, (record, uint40(START), "")),
            abi.encodeCall(members.expire, (record)),
            abi.encodeCall(members.withdraw, (record)),
            abi.encodeCall(members.commitSlash, (SALT)),
            abi.encodeCall(members.slash, (SECRET, thief, SALT, record)),
            abi.encodeCall(members.sweep, ())
        ];
        for (uint256 i; i < calls.length; ++i) {
            hostile.arm(address(members), calls[i]);
            extend(record, 1);
            eq(hostile.called() ? 1 : 0, 1);
            eq(uint32(bytes4(hostile.answer())), uint32(bytes4(keccak256("ReentrancyGuardReentrantCall()"))));
        }
    }
}
