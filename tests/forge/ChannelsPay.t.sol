// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IChannels} from "../../contracts/interfaces/IChannels.sol";
import {ICredits} from "../../contracts/interfaces/ICredits.sol";
import {RefusingToken} from "../../contracts/mocks/RefusingToken.sol";
import {ChannelsBase} from "./ChannelsBase.sol";

/// @notice How money leaves channels: claims, closing, credits.
contract ChannelsPayTest is ChannelsBase {
    function setUp() public override {
        super.setUp();
        open();
    }

    function entry(uint256 amount) private view returns (bytes32) {
        return bytes32((uint256(uint160(signer)) << 96) | amount);
    }

    function testClaims() external {
        IChannels.SignedReceipt[] memory batch = receipts(400);
        bytes32[] memory entries = new bytes32[](1);
        entries[0] = entry(400);
        vm.expectEmit(address(channels));
        emit IChannels.Claimed(payee, address(token), 400, entries);
        eq(channels.claim(payee, address(token), batch), 400);
        has(AMOUNT, 400, 0, IChannels.Status.Open);
        eq(token.balanceOf(payee), 400);
        eq(claim(399), 0);
        eq(claim(400), 0);
        eq(claim(401), 1);
        eq(claim(AMOUNT + 1), AMOUNT - 401); // C2
        eq(token.balanceOf(payee), AMOUNT);
        eq(token.balanceOf(address(channels)), 0);
    }

    function testClaimsSkip() external {
        IChannels.SignedReceipt[] memory batch = new IChannels.SignedReceipt[](5);
        batch[0] = receipt(THIEF_KEY, 9); // no such channel
        batch[1] = receipt(SIGNER_KEY, 100);
        batch[2] = receipt(SIGNER_KEY, 90); // stale
        batch[3] = IChannels.SignedReceipt(1, 0, 0); // malformed: must not read the last recovery's answer
        batch[4] = receipt(SIGNER_KEY, 150);
        bytes32[] memory entries = new bytes32[](2);
        (entries[0], entries[1]) = (entry(100), entry(50));
        vm.expectEmit(address(channels));
        emit IChannels.Claimed(payee, address(token), 150, entries);
        eq(channels.claim(payee, address(token), batch), 150);
        eq(token.balanceOf(payee), 150);
    }

    function testClaimsBothParities() external {
        for (uint128 total = 1; total <= 16; ++total) {
            eq(claim(total), 1);
        }
    }

    function testClaimsAThousandAndNoMore() external {
        IChannels.SignedReceipt[] memory batch = new IChannels.SignedReceipt[](1000);
        eq(channels.claim(payee, address(token), batch), 0);
        batch = new IChannels.SignedReceipt[](1001);
        vm.expectRevert(abi.encodeWithSelector(IChannels.BatchTooLarge.selector, 1001, 1000));
        channels.claim(payee, address(token), batch);
    }

    function testCloses() external {
        claim(100);
        vm.expectRevert(abi.encodeWithSelector(IChannels.NotPayer.selector, thief, payer));
        vm.prank(thief);
        channels.startClose(payee, address(token), signer);
        vm.expectRevert(abi.encodeWithSelector(IChannels.NotClosing.selector, IChannels.Status.Open));
        finishClose();
        uint256 end = START + MIN_DELAY;
        vm.expectEmit(address(channels));
        emit IChannels.CloseStarted(payee, address(token), signer, uint40(end));
        startClose();
        has(AMOUNT, 100, end, IChannels.Status.Closing);
        vm.expectRevert(abi.encodeWithSelector(IChannels.ChannelNotOpen.selector, IChannels.Status.Closing));
        vm.prank(payer);
        channels.startClose(payee, address(token), signer);
        eq(claim(150), 50);
        vm.warp(end - 1);
        vm.expectRevert(abi.encodeWithSelector(IChannels.TooEarly.selector, end - 1, end)); // C5
        finishClose();
        vm.warp(end);
        uint256 before = token.balanceOf(payer);
        vm.expectEmit(address(channels));
        emit IChannels.Closed(payee, address(token), signer, 150, uint96(AMOUNT - 150));
        finishClose();
        eq(token.balanceOf(payer) - before, AMOUNT - 150);
        has(AMOUNT, 150, end, IChannels.Status.Closed);
        eq(claim(200), 0);
        vm.expectRevert(abi.encodeWithSelector(IChannels.NotClosing.selector, IChannels.Status.Closed));
        finishClose();
    }

    function testStartsClosingForAPayer() external {
        bytes32 typehash = keccak256("StartClose(address payee,address token,address signer,uint40 deadline)");
        bytes32 digest = typed(domain(), keccak256(abi.encode(typehash, payee, token, signer, START)));
        bytes memory stolen = signature(SIGNER_KEY, digest);
        vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidSignature.selector, payer));
        channels.startCloseFor(payee, address(token), signer, uint40(START), stolen);
        channels.startCloseFor(payee, address(token), signer, uint40(START), signature(PAYER_KEY, digest));
        has(AMOUNT, 0, START + MIN_DELAY, IChannels.Status.Closing);
    }

    function testClosesByConsent() external {
        claim(100);
        IChannels.Close memory action = closing(300);
        IChannels.SignedReceipt memory shown = receipt(SIGNER_KEY, 350);
        bytes memory stolen = consent(PAYER_KEY, action);
        vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidSignature.selector, payee));
        channels.close(action, stolen, shown);
        bytes memory payeeSig = consent(PAYEE_KEY, action);
        uint256 before = token.balanceOf(payer);
        vm.expectEmit(address(channels));
        emit IChannels.Closed(payee, address(token), signer, 300, uint96(AMOUNT - 300));
        channels.close(action, payeeSig, shown);
        eq(token.balanceOf(payee), 300);
        eq(token.balanceOf(payer) - before, AMOUNT - 300);
        has(AMOUNT, 300, 0, IChannels.Status.Closed);
        vm.expectRevert(abi.encodeWithSelector(IChannels.ChannelNotOpen.selector, IChannels.Status.Closed));
        channels.close(action, payeeSig, shown);
    }

    function testThePayeeGivesUpTheRest() external {
        claim(100);
        startClose();
        IChannels.Close memory action = closing(100);
        IChannels.SignedReceipt memory nothing;
        vm.prank(payee);
        channels.close(action, "", nothing);
        has(AMOUNT, 100, START + MIN_DELAY, IChannels.Status.Closed);
        eq(token.balanceOf(payee), 100);
    }

    function testThePayeeTakesNoMoreThanWasEarned() external {
        IChannels.Close memory action = closing(301);
        IChannels.SignedReceipt memory shown = receipt(SIGNER_KEY, 300);
        vm.expectRevert(abi.encodeWithSelector(IChannels.AmountOutOfRange.selector, 301, 300));
        vm.prank(payee);
        channels.close(action, "", shown);
        shown = receipt(PAYEE_KEY, 301);
        vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidSignature.selector, signer));
        vm.prank(payee);
        channels.close(action, "", shown);
        action.finalCumulative = AMOUNT + 1;
        shown = receipt(SIGNER_KEY, AMOUNT + 1);
        vm.expectRevert(abi.encodeWithSelector(IChannels.AmountOutOfRange.selector, AMOUNT + 1, AMOUNT));
        vm.prank(payee);
        channels.close(action, "", shown);
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(ICredits.DeadlinePassed.selector, START, START + 1));
        vm.prank(payee);
        channels.close(action, "", shown);
    }

    function testThePayeeTakesAllThatWasEarned() external {
        IChannels.SignedReceipt memory shown = receipt(SIGNER_KEY, AMOUNT);
        vm.prank(payee);
        channels.close(closing(AMOUNT), "", shown);
        eq(token.balanceOf(payee), AMOUNT);
        has(AMOUNT, AMOUNT, 0, IChannels.Status.Closed);
    }

    function testRefusesToCloseWhatIsNotThere() external {
        IChannels.Close memory action = closing(0);
        action.signer = thief;
        IChannels.SignedReceipt memory nothing;
        vm.expectRevert(abi.encodeWithSelector(IChannels.ChannelNotOpen.selector, IChannels.Status.None));
        vm.prank(payee);
        channels.close(action, "", nothing);
    }

    function testReadsMany() external view {
        address[] memory signers = new address[](2);
        (signers[0], signers[1]) = (thief, signer);
        IChannels.Channel[] memory all = channels.channelsOf(payee, address(token), signers);
        eq(all.length, 2);
        eq(all[0].deposited, 0);
        eq(all[1].deposited, AMOUNT);
    }

    function testARefusedPaymentIsACredit() external {
        token.refuse(payee, RefusingToken.Refusal.ReturnFalse);
        vm.expectEmit(address(channels));
        emit ICredits.Credited(payee, address(token), 100);
        eq(claim(100), 100);
        eq(claim(150), 50);
        eq(channels.credit(payee, address(token)), 150);
        address[3] memory nowhere = [address(0), address(token), address(channels)];
        for (uint256 i; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidReceiver.selector, nowhere[i]));
            vm.prank(payee);
            channels.withdrawCredit(address(token), nowhere[i]);
        }
        vm.expectEmit(address(channels));
        emit ICredits.CreditWithdrawn(payee, address(token), thief, 150);
        vm.prank(payee);
        channels.withdrawCredit(address(token), thief);
        eq(token.balanceOf(thief), 150);
        eq(channels.credit(payee, address(token)), 0);
        vm.expectRevert(abi.encodeWithSelector(ICredits.NothingToWithdraw.selector, payee, token));
        vm.prank(payee);
        channels.withdrawCredit(address(token), thief);
    }

    function testWithdrawsForTheOwnerOnce() external {
        token.refuse(payee, RefusingToken.Refusal.Revert);
        claim(100);
        bytes32 typehash =
            keccak256("WithdrawCredit(address owner,address token,address to,bytes32 salt,uint40 deadline)");
        bytes32 digest =
            typed(domain(), keccak256(abi.encode(typehash, payee, token, thief, bytes32(uint256(5)), START)));
        bytes memory ownerSig = signature(PAYEE_KEY, digest);
        channels.withdrawCreditFor(payee, address(token), thief, bytes32(uint256(5)), uint40(START), ownerSig);
        eq(token.balanceOf(thief), 100);
        vm.expectRevert(abi.encodeWithSelector(ICredits.AlreadyUsed.selector, digest));
        channels.withdrawCreditFor(payee, address(token), thief, bytes32(uint256(5)), uint40(START), ownerSig);
    }
}
