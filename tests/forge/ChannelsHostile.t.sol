// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IChannels} from "../../contracts/interfaces/IChannels.sol";
import {ICredits} from "../../contracts/interfaces/ICredits.sol";
import {Deposits} from "../../contracts/libraries/Deposits.sol";
import {FeeToken} from "../../contracts/mocks/FeeToken.sol";
import {ReentrantToken} from "../../contracts/mocks/ReentrantToken.sol";
import {RefusingToken} from "../../contracts/mocks/RefusingToken.sol";
import {ChannelsBase} from "./ChannelsBase.sol";

/// @notice What tokens, callers and forgers may not do.
contract ChannelsHostileTest is ChannelsBase {
    /// @dev The signer that was read before is still in memory when ecrecover returns nothing.
    function testAMalformedReceiptIsNobodys() external {
        open();
        IChannels.SignedReceipt[] memory batch = new IChannels.SignedReceipt[](2);
        batch[0] = receipt(SIGNER_KEY, 10);
        batch[1] = IChannels.SignedReceipt(500, 0, 0);
        eq(channels.claim(payee, address(token), batch), 10);
        has(AMOUNT, 10, 0, IChannels.Status.Open);
    }

    /// @dev EIP-7702: the key signs for an account that has code which knows no ERC-1271.
    function testADelegatedAccountSigns() external {
        IChannels.Opening memory opening = terms();
        vm.etch(payer, address(token).code);
        channels.openFor(opening, bySigner(opening), signature(PAYER_KEY, openingDigest(opening)), none);
        has(AMOUNT, 0, 0, IChannels.Status.Open);
    }

    function testSignaturesEnd() external {
        open();
        IChannels.TopUp memory action = topUpTerms();
        bytes memory payerSig = signature(PAYER_KEY, topUpDigest(action));
        vm.warp(START + 1);
        bytes memory late = abi.encodeWithSelector(ICredits.DeadlinePassed.selector, START, START + 1);
        vm.expectRevert(late);
        channels.topUpFor(action, payerSig, none);
        vm.expectRevert(late);
        channels.withdrawCreditFor(payee, address(token), thief, 0, uint40(START), "");
    }

    function testATokenWithoutCodeIsRefusedByName() external {
        IChannels.Opening memory opening = terms();
        opening.token = address(0xBEEF);
        IChannels.Signature memory sig = bySigner(opening);
        bytes memory payerSig = signature(PAYER_KEY, openingDigest(opening));
        Deposits.Permit memory permit = Deposits.Permit(AMOUNT, START, 27, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(Deposits.InvalidToken.selector, address(0xBEEF)));
        channels.openFor(opening, sig, payerSig, permit);
    }

    /// @dev What the contract held before does not make up for what did not come.
    function testCountsWhatCame() external {
        FeeToken fee = new FeeToken();
        fee.mint(payer, AMOUNT);
        vm.prank(payer);
        fee.approve(address(channels), AMOUNT);
        IChannels.Opening memory opening = terms();
        opening.token = address(fee);
        IChannels.Signature memory sig = bySigner(opening);
        bytes memory short = abi.encodeWithSelector(Deposits.ShortTransfer.selector, AMOUNT * 99 / 100, AMOUNT);
        Deposits.Authorization memory pays = authorization(fee, AMOUNT, channels.hashOpening(opening));
        for (uint256 i; i < 2; ++i) {
            vm.expectRevert(short);
            vm.prank(payer);
            channels.open(opening, sig);
            vm.expectRevert(short);
            channels.openWithAuthorization(opening, sig, pays);
            fee.mint(address(channels), AMOUNT);
        }
    }

    function testNothingIsNotTransferred() external {
        open();
        claim(AMOUNT);
        startClose();
        vm.warp(START + MIN_DELAY);
        vm.expectCall(address(token), abi.encodeCall(token.transfer, (payer, 0)), 0);
        finishClose();
        has(AMOUNT, AMOUNT, START + MIN_DELAY, IChannels.Status.Closed);
    }

    function testAStarvedPaymentIsUndone() external {
        open();
        IChannels.SignedReceipt[] memory batch = receipts(100);
        token.refuse(payee, RefusingToken.Refusal.ReturnFalseIfStarved);
        (bool done, bytes memory reason) =
            address(channels).call{gas: 400_000}(abi.encodeCall(channels.claim, (payee, address(token), batch)));
        eq(done ? 1 : 0, 0);
        eq(uint32(bytes4(reason)), uint32(ICredits.InsufficientGas.selector));
        eq(channels.claim(payee, address(token), batch), 100);
        eq(token.balanceOf(payee), 100);
    }

    /// @dev To the unit of gas: one less and the token may have been starved.
    function testARefusalCountsFromHalfAMillionGasOn() external {
        open();
        bytes memory data = abi.encodeCall(channels.claim, (payee, address(token), receipts(100)));
        token.refuse(payee, RefusingToken.Refusal.ReturnFalse);
        uint256 more = 500_000 - starved(400_000, data);
        eq(starved(400_000 + more - 1, data), 499_999);
        (bool done,) = address(channels).call{gas: 400_000 + more}(data);
        eq(done ? 1 : 0, 1);
        eq(channels.credit(payee, address(token)), 100);
    }

    /// @dev The gas that was left when a claim with so much gas failed for lack of it.
    function starved(uint256 allowance, bytes memory data) private returns (uint256 available) {
        (bool done, bytes memory reason) = address(channels).call{gas: allowance}(data);
        eq(done ? 1 : 0, 0);
        eq(uint32(bytes4(reason)), uint32(ICredits.InsufficientGas.selector));
        uint256 least;
        assembly ("memory-safe") {
            available := mload(add(reason, 0x24))
            least := mload(add(reason, 0x44))
        }
        eq(least, 500_000);
    }

    function testNoTokenComesBackIn() external {
        IChannels.SignedReceipt[] memory batch;
        IChannels.SignedReceipt memory nothing;
        Deposits.Authorization memory never;
        bytes[14] memory calls = [
            abi.encodeCall(channels.open, (terms(), bySigner(terms()))),
            abi.encodeCall(channels.openMany, (new IChannels.Opening[](0), new IChannels.Signature[](0))),
            abi.encodeCall(channels.openFor, (terms(), bySigner(terms()), "", none)),
            abi.encodeCall(channels.openWithAuthorization, (terms(), bySigner(terms()), never)),
            abi.encodeCall(channels.topUp, (payee, address(token), signer, 1)),
            abi.encodeCall(channels.topUpFor, (topUpTerms(), "", none)),
            abi.encodeCall(channels.topUpWithAuthorization, (topUpTerms(), never)),
            abi.encodeCall(channels.claim, (payee, address(token), batch)),
            abi.encodeCall(channels.startClose, (payee, address(token), signer)),
            abi.encodeCall(channels.startCloseFor, (payee, address(token), signer, 0, "")),
            abi.encodeCall(channels.finishClose, (payee, address(token), signer)),
            abi.encodeCall(channels.close, (closing(0), "", nothing)),
            abi.encodeCall(channels.withdrawCredit, (address(token), thief)),
            abi.encodeCall(channels.withdrawCreditFor, (payee, address(token), thief, 0, 0, ""))
        ];
        ReentrantToken hostile = new ReentrantToken();
        hostile.mint(payer, AMOUNT);
        vm.prank(payer);
        hostile.approve(address(channels), AMOUNT);
        IChannels.Opening memory opening = terms();
        opening.token = address(hostile);
        IChannels.Signature memory sig = bySigner(opening);
        vm.prank(payer);
        channels.open(opening, sig);
        for (uint256 i; i < calls.length; ++i) {
            hostile.mint(payer, 1);
            vm.prank(payer);
            hostile.approve(address(channels), 1);
            hostile.arm(address(channels), calls[i]);
            vm.prank(payer);
            channels.topUp(payee, address(hostile), signer, 1);
            eq(hostile.called() ? 1 : 0, 1);
            eq(uint32(bytes4(hostile.answer())), uint32(bytes4(keccak256("ReentrancyGuardReentrantCall()"))));
        }
    }
}
