// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IChannels} from "../../contracts/interfaces/IChannels.sol";
import {ICredits} from "../../contracts/interfaces/ICredits.sol";
import {Deposits} from "../../contracts/libraries/Deposits.sol";
import {FeeToken} from "../../contracts/mocks/FeeToken.sol";
import {RefusingToken} from "../../contracts/mocks/RefusingToken.sol";
import {Wallet} from "../../contracts/mocks/Wallet.sol";
import {Channels} from "../../contracts/payments/Channels.sol";
import {ChannelsBase} from "./ChannelsBase.sol";

/// @notice How money comes into channels.
contract ChannelsOpenTest is ChannelsBase {
    function refused(IChannels.Opening memory opening, bytes memory reason) private {
        IChannels.Signature memory sig = bySigner(opening);
        vm.expectRevert(reason);
        vm.prank(payer);
        channels.open(opening, sig);
    }

    function testConstructor() external {
        eq(channels.minCloseDelay(), MIN_DELAY);
        eq(channels.maxCloseDelay(), MAX_DELAY);
        eq(new Channels(5, 5).maxCloseDelay(), 5);
        vm.expectRevert(abi.encodeWithSelector(IChannels.CloseDelayOutOfRange.selector, 0, 1, 5));
        new Channels(0, 5);
        vm.expectRevert(abi.encodeWithSelector(IChannels.CloseDelayOutOfRange.selector, 6, 1, 5));
        new Channels(6, 5);
        eq(channels.MAX_CLAIMS(), 1000);
        eq(channels.MAX_OPENINGS(), 200);
        eq(uint256(channels.DOMAIN_SEPARATOR()), uint256(domain()));
    }

    function testOpens() external {
        IChannels.Opening memory opening = terms();
        IChannels.Signature memory sig = bySigner(opening);
        vm.expectEmit(address(channels));
        emit IChannels.Opened(payee, address(token), signer, payer, uint96(AMOUNT), MIN_DELAY);
        vm.prank(payer);
        channels.open(opening, sig);
        has(AMOUNT, 0, 0, IChannels.Status.Open);
        eq(token.balanceOf(address(channels)), AMOUNT);
        refused(terms(), abi.encodeWithSelector(IChannels.AlreadyOpened.selector, payee, token, signer)); // C4
    }

    function testOpensTheLongestDelayAndTheLargestAmount() external {
        IChannels.Opening memory opening = terms();
        (opening.closeDelay, opening.amount) = (MAX_DELAY, type(uint96).max);
        IChannels.Signature memory sig = bySigner(opening);
        vm.prank(payer);
        channels.open(opening, sig);
        eq(state().closeDelay, MAX_DELAY);
        eq(state().deposited, type(uint96).max);
        vm.expectRevert(abi.encodeWithSelector(IChannels.AmountOutOfRange.selector, 1, 0));
        vm.prank(payer);
        channels.topUp(payee, address(token), signer, 1);
    }

    function testRefusesTerms() external {
        IChannels.Opening memory opening = terms();
        opening.amount = 0;
        refused(opening, abi.encodeWithSelector(IChannels.ZeroAmount.selector));
        opening.amount = uint128(type(uint96).max) + 1;
        refused(opening, abi.encodeWithSelector(IChannels.AmountOutOfRange.selector, opening.amount, type(uint96).max));
        opening = terms();
        opening.closeDelay = MIN_DELAY - 1;
        refused(
            opening,
            abi.encodeWithSelector(IChannels.CloseDelayOutOfRange.selector, MIN_DELAY - 1, MIN_DELAY, MAX_DELAY)
        );
        opening.closeDelay = MAX_DELAY + 1;
        refused(
            opening,
            abi.encodeWithSelector(IChannels.CloseDelayOutOfRange.selector, MAX_DELAY + 1, MIN_DELAY, MAX_DELAY)
        );
        opening = terms();
        opening.deadline = uint40(START - 1);
        refused(opening, abi.encodeWithSelector(ICredits.DeadlinePassed.selector, START - 1, START));
        opening = terms();
        opening.signer = address(0);
        refused(opening, abi.encodeWithSelector(IChannels.InvalidSigner.selector, address(0)));
        opening.signer = payer;
        refused(opening, abi.encodeWithSelector(ICredits.InvalidSignature.selector, payer));
        address[3] memory payees = [address(0), address(token), address(channels)];
        for (uint256 i; i < 3; ++i) {
            opening = terms();
            opening.payee = payees[i];
            refused(opening, abi.encodeWithSelector(IChannels.InvalidPayee.selector, payees[i]));
        }
        opening = terms();
        opening.token = address(0xBEEF);
        refused(opening, abi.encodeWithSelector(Deposits.InvalidToken.selector, address(0xBEEF)));
        opening = terms();
        opening.payer = thief;
        refused(opening, abi.encodeWithSelector(IChannels.NotPayer.selector, payer, thief));
    }

    function testRefusesATokenThatKeepsAFee() external {
        FeeToken fee = new FeeToken();
        fee.mint(payer, AMOUNT);
        vm.prank(payer);
        fee.approve(address(channels), AMOUNT);
        IChannels.Opening memory opening = terms();
        opening.token = address(fee);
        refused(opening, abi.encodeWithSelector(Deposits.ShortTransfer.selector, AMOUNT * 99 / 100, AMOUNT));
    }

    function testOpensMany() external {
        (IChannels.Opening[] memory all, IChannels.Signature[] memory sigs) = many(2);
        vm.prank(payer);
        channels.openMany(all, sigs);
        eq(token.balanceOf(address(channels)), uint256(AMOUNT) * 2);
        has(AMOUNT, 0, 0, IChannels.Status.Open);
        eq(channels.channel(address(1000), address(token), signer).deposited, AMOUNT);
    }

    function testOpensTwoHundredAndNoMore() external {
        (IChannels.Opening[] memory all, IChannels.Signature[] memory sigs) = many(200);
        vm.prank(payer);
        channels.openMany(all, sigs);
        eq(token.balanceOf(address(channels)), uint256(AMOUNT) * 200);
        (all, sigs) = many(201);
        vm.expectRevert(abi.encodeWithSelector(IChannels.BatchTooLarge.selector, 201, 200));
        vm.prank(payer);
        channels.openMany(all, sigs);
    }

    function testRefusesBatches() external {
        (IChannels.Opening[] memory all, IChannels.Signature[] memory sigs) = many(2);
        vm.expectRevert(abi.encodeWithSelector(IChannels.LengthMismatch.selector, 2, 1));
        vm.prank(payer);
        channels.openMany(all, new IChannels.Signature[](1));
        vm.expectRevert(abi.encodeWithSelector(IChannels.ZeroAmount.selector));
        channels.openMany(new IChannels.Opening[](0), new IChannels.Signature[](0));
        all[1].payer = thief;
        vm.expectRevert(abi.encodeWithSelector(IChannels.NotPayer.selector, payer, thief));
        vm.prank(payer);
        channels.openMany(all, sigs);
        all[1].payer = payer;
        RefusingToken other = new RefusingToken();
        all[1].token = address(other);
        sigs[1] = bySigner(all[1]);
        vm.expectRevert(abi.encodeWithSelector(IChannels.MixedBatch.selector, other, token));
        vm.prank(payer);
        channels.openMany(all, sigs);
    }

    function many(uint256 count)
        private
        view
        returns (IChannels.Opening[] memory all, IChannels.Signature[] memory sigs)
    {
        all = new IChannels.Opening[](count);
        sigs = new IChannels.Signature[](count);
        for (uint256 i; i < count; ++i) {
            all[i] = terms();
            // forge-lint: disable-next-line(unsafe-typecast)
            if (i != 0) all[i].payee = address(uint160(999 + i));
            sigs[i] = bySigner(all[i]);
        }
    }

    function testOpensForAPayer() external {
        IChannels.Opening memory opening = terms();
        IChannels.Signature memory sig = bySigner(opening);
        bytes memory stolen = signature(THIEF_KEY, openingDigest(opening));
        vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidSignature.selector, payer));
        channels.openFor(opening, sig, stolen, none);
        bytes memory payerSig = signature(PAYER_KEY, openingDigest(opening));
        channels.openFor(opening, sig, payerSig, none);
        has(AMOUNT, 0, 0, IChannels.Status.Open);
        eq(token.balanceOf(address(channels)), AMOUNT);
    }

    function testOpensForAWallet() external {
        Wallet wallet = new Wallet(payer);
        token.mint(address(wallet), AMOUNT);
        vm.prank(payer);
        wallet.execute(address(token), abi.encodeCall(token.approve, (address(channels), AMOUNT)));
        IChannels.Opening memory opening = terms();
        opening.payer = address(wallet);
        IChannels.Signature memory sig = bySigner(opening);
        bytes memory stolen = signature(THIEF_KEY, openingDigest(opening));
        vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidSignature.selector, wallet));
        channels.openFor(opening, sig, stolen, none);
        channels.openFor(opening, sig, signature(PAYER_KEY, openingDigest(opening)), none);
        eq(state().payer, address(wallet));
    }

    function testNobodyPaysForNobody() external {
        IChannels.Opening memory opening = terms();
        opening.payer = address(0);
        IChannels.Signature memory sig = bySigner(opening);
        vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidSignature.selector, address(0)));
        channels.openFor(opening, sig, new bytes(65), none);
    }

    function testOpensWithAPermit() external {
        vm.prank(payer);
        token.approve(address(channels), 0);
        IChannels.Opening memory opening = terms();
        IChannels.Signature memory sig = bySigner(opening);
        bytes memory payerSig = signature(PAYER_KEY, openingDigest(opening));
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        Deposits.Permit memory permit = Deposits.Permit(AMOUNT, START, 0, 0, 0);
        bytes32 structHash = keccak256(abi.encode(typehash, payer, channels, AMOUNT, 0, START));
        (permit.v, permit.r, permit.s) = vm.sign(PAYER_KEY, typed(token.DOMAIN_SEPARATOR(), structHash));
        channels.openFor(opening, sig, payerSig, permit);
        has(AMOUNT, 0, 0, IChannels.Status.Open);
    }

    function testOpensWithAnAuthorization() external {
        IChannels.Opening memory opening = terms();
        IChannels.Signature memory sig = bySigner(opening);
        Deposits.Authorization memory pays = authorization(token, AMOUNT, channels.hashOpening(opening));
        channels.openWithAuthorization(opening, sig, pays);
        has(AMOUNT, 0, 0, IChannels.Status.Open);
        eq(token.balanceOf(address(channels)), AMOUNT);
    }

    function testTopsUp() external {
        vm.expectRevert(abi.encodeWithSelector(IChannels.ChannelNotOpen.selector, IChannels.Status.None));
        channels.topUp(payee, address(token), signer, 1);
        open();
        vm.expectEmit(address(channels));
        emit IChannels.ToppedUp(payee, address(token), signer, payer, 5, uint96(AMOUNT + 5));
        vm.prank(payer);
        channels.topUp(payee, address(token), signer, 5);
        has(AMOUNT + 5, 0, 0, IChannels.Status.Open);
        eq(token.balanceOf(address(channels)), AMOUNT + 5);
        uint96 room = type(uint96).max - uint96(AMOUNT + 5);
        vm.expectRevert(abi.encodeWithSelector(IChannels.AmountOutOfRange.selector, room + 1, room));
        vm.prank(payer);
        channels.topUp(payee, address(token), signer, room + 1);
        vm.prank(payer);
        channels.topUp(payee, address(token), signer, room);
        eq(state().deposited, type(uint96).max);
    }

    function testTopsUpOncePerSignature() external {
        open();
        IChannels.TopUp memory action = topUpTerms();
        bytes32 digest = topUpDigest(action);
        vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidSignature.selector, payer));
        channels.topUpFor(action, signature(THIEF_KEY, digest), none);
        bytes memory payerSig = signature(PAYER_KEY, digest);
        channels.topUpFor(action, payerSig, none);
        has(AMOUNT + 7, 0, 0, IChannels.Status.Open);
        eq(token.balanceOf(address(channels)), AMOUNT + 7);
        vm.expectRevert(abi.encodeWithSelector(ICredits.AlreadyUsed.selector, digest));
        channels.topUpFor(action, payerSig, none);
        Deposits.Authorization memory pays = authorization(token, 7, channels.hashTopUp(action));
        vm.expectRevert(abi.encodeWithSelector(ICredits.AlreadyUsed.selector, digest));
        channels.topUpWithAuthorization(action, pays);
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(ICredits.DeadlinePassed.selector, START, START + 1));
        channels.topUpWithAuthorization(action, pays);
    }

    function testTopsUpWithAnAuthorization() external {
        open();
        IChannels.TopUp memory action = topUpTerms();
        Deposits.Authorization memory pays = authorization(token, 7, channels.hashTopUp(action));
        channels.topUpWithAuthorization(action, pays);
        has(AMOUNT + 7, 0, 0, IChannels.Status.Open);
        eq(token.balanceOf(address(channels)), AMOUNT + 7);
        bytes memory payerSig = signature(PAYER_KEY, topUpDigest(action));
        vm.expectRevert(abi.encodeWithSelector(ICredits.AlreadyUsed.selector, topUpDigest(action)));
        channels.topUpFor(action, payerSig, none);
    }
}
