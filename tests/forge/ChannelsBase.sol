// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IChannels} from "../../contracts/interfaces/IChannels.sol";
import {Deposits} from "../../contracts/libraries/Deposits.sol";
import {DevDollar} from "../../contracts/mocks/DevDollar.sol";
import {RefusingToken} from "../../contracts/mocks/RefusingToken.sol";
import {Channels} from "../../contracts/payments/Channels.sol";
import {Base} from "./Base.sol";

/// @notice One payer, one payee, one signer, and everything that they can sign.
abstract contract ChannelsBase is Base {
    uint32 internal constant MIN_DELAY = 36 hours;
    uint32 internal constant MAX_DELAY = 90 days;
    uint128 internal constant AMOUNT = 1_000_000;

    Channels internal channels;
    Deposits.Permit internal none;

    function setUp() public virtual {
        vm.warp(START);
        token = new RefusingToken();
        channels = new Channels(MIN_DELAY, MAX_DELAY);
        token.mint(payer, 1 << 100);
        vm.prank(payer);
        token.approve(address(channels), type(uint256).max);
    }

    function domain() internal view returns (bytes32) {
        return domainOf("Waypost Channels", address(channels));
    }

    function terms() internal view returns (IChannels.Opening memory) {
        return IChannels.Opening({
            payer: payer,
            payee: payee,
            token: address(token),
            signer: signer,
            closeDelay: MIN_DELAY,
            amount: AMOUNT,
            salt: 0,
            deadline: uint40(START)
        });
    }

    function openingDigest(IChannels.Opening memory opening) internal view returns (bytes32) {
        bytes32 typehash = keccak256(
            "Opening(address payer,address payee,address token,address signer,uint32 closeDelay,uint128 amount,bytes32 salt,uint40 deadline)"
        );
        return typed(domain(), keccak256(abi.encode(typehash, opening)));
    }

    function bySigner(IChannels.Opening memory opening) internal view returns (IChannels.Signature memory) {
        (bytes32 r, bytes32 vs) = compact(SIGNER_KEY, openingDigest(opening));
        return IChannels.Signature(r, vs);
    }

    function open() internal {
        IChannels.Opening memory opening = terms();
        IChannels.Signature memory sig = bySigner(opening);
        vm.prank(payer);
        channels.open(opening, sig);
    }

    function authorization(DevDollar asset, uint256 amount, bytes32 nonce)
        internal
        view
        returns (Deposits.Authorization memory result)
    {
        bytes32 typehash = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        result = Deposits.Authorization(1, START + 1, 0, 0, 0);
        bytes32 structHash = keccak256(abi.encode(typehash, payer, channels, amount, 1, START + 1, nonce));
        (result.v, result.r, result.s) = vm.sign(PAYER_KEY, typed(asset.DOMAIN_SEPARATOR(), structHash));
    }

    function topUpTerms() internal view returns (IChannels.TopUp memory) {
        return IChannels.TopUp({
            payer: payer,
            payee: payee,
            token: address(token),
            signer: signer,
            amount: 7,
            salt: 0,
            deadline: uint40(START)
        });
    }

    function topUpDigest(IChannels.TopUp memory action) internal view returns (bytes32) {
        bytes32 typehash = keccak256(
            "TopUp(address payer,address payee,address token,address signer,uint128 amount,bytes32 salt,uint40 deadline)"
        );
        return typed(domain(), keccak256(abi.encode(typehash, action)));
    }

    function receipt(uint256 key, uint128 cumulative) internal view returns (IChannels.SignedReceipt memory) {
        bytes32 typehash = keccak256("Receipt(address payee,address token,uint128 cumulative)");
        (bytes32 r, bytes32 vs) =
            compact(key, typed(domain(), keccak256(abi.encode(typehash, payee, token, cumulative))));
        return IChannels.SignedReceipt(cumulative, r, vs);
    }

    function receipts(uint128 cumulative) internal view returns (IChannels.SignedReceipt[] memory batch) {
        batch = new IChannels.SignedReceipt[](1);
        batch[0] = receipt(SIGNER_KEY, cumulative);
    }

    function claim(uint128 cumulative) internal returns (uint256) {
        IChannels.SignedReceipt[] memory batch = receipts(cumulative);
        return channels.claim(payee, address(token), batch);
    }

    function startClose() internal {
        vm.prank(payer);
        channels.startClose(payee, address(token), signer);
    }

    function finishClose() internal {
        channels.finishClose(payee, address(token), signer);
    }

    function closing(uint128 total) internal view returns (IChannels.Close memory) {
        return IChannels.Close(payee, address(token), signer, total, uint40(START));
    }

    function consent(uint256 key, IChannels.Close memory action) internal view returns (bytes memory) {
        bytes32 typehash =
            keccak256("Close(address payee,address token,address signer,uint128 finalCumulative,uint40 deadline)");
        return signature(key, typed(domain(), keccak256(abi.encode(typehash, action))));
    }

    function state() internal view returns (IChannels.Channel memory) {
        return channels.channel(payee, address(token), signer);
    }

    function has(uint256 deposited, uint256 claimed, uint256 closesAt, IChannels.Status status) internal view {
        IChannels.Channel memory channel = state();
        eq(channel.payer, payer);
        eq(channel.deposited, deposited);
        eq(channel.claimed, claimed);
        eq(channel.closesAt, closesAt);
        eq(channel.closeDelay, MIN_DELAY);
        eq(uint256(channel.status), uint256(status));
    }
}
