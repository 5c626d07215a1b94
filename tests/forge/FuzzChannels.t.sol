// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {IChannels} from "../../contracts/interfaces/IChannels.sol";
import {ICredits} from "../../contracts/interfaces/ICredits.sol";
import {RefusingToken} from "../../contracts/mocks/RefusingToken.sol";
import {ChannelsBase} from "./ChannelsBase.sol";

/// @notice Random steps of a payer, a payee and a thief, next to a model of what everybody should have.
contract FuzzChannelsTest is ChannelsBase {
    uint256 private constant STEPS = 30;
    uint256 private constant CHANNELS = 3;

    uint256 private seed;
    address[] private signers;
    uint96[CHANNELS] private signed; // the highest total of each

    // The model: what the contract should say.
    IChannels.Channel[] private models;
    mapping(address person => uint256) private credits;

    function setUp() public override {
        super.setUp();
        for (uint256 i; i < CHANNELS; ++i) {
            signers.push(vm.addr(SIGNER_KEY + i));
            models.push();
        }
    }

    /// @dev C1 to C6 after every step, and everybody gets out in the end.
    function testFuzzNobodyIsRobbedOrKept(uint256 seed_) external {
        seed = seed_;
        for (uint256 i; i < STEPS; ++i) {
            step(i < 4 ? 0 : draw(18)); // opens first
            holds();
        }
        depart();
    }

    /// @dev Each step works out the error that it deserves, and changes the model if it deserves none.
    function step(uint256 action) private {
        if (action < 1) opens(pick(IChannels.Status.None));
        else if (action < 2) topsUp(pick(IChannels.Status.Open));
        else if (action < 6) claims(pick(IChannels.Status.Open));
        else if (action < 8) startsClose(pick(IChannels.Status.Open));
        else if (action < 11) waits(pick(IChannels.Status.Closing));
        else if (action < 14) finishesClose(pick(IChannels.Status.Closing));
        else if (action < 15) closes(pick(IChannels.Status.Open));
        else if (action < 17) withdraws();
        else token.refuse(mostly(payee), RefusingToken.Refusal(draw(3))); // not at all, by reverting, returning false
    }

    function opens(uint256 which) private {
        IChannels.Channel storage model = models[which];
        IChannels.Opening memory opening = terms();
        (opening.signer, opening.deadline) = (signers[which], uint40(block.timestamp));
        (opening.amount, opening.closeDelay) = (draw(500), MIN_DELAY + draw(MIN_DELAY));
        (address by, uint256 key) = (mostly(payer), draw(8) == 0 ? THIEF_KEY : SIGNER_KEY + which);
        IChannels.Signature memory sig;
        (sig.r, sig.vs) = compact(key, openingDigest(opening));
        bytes4 refusal;
        if (by != payer) refusal = IChannels.NotPayer.selector;
        else if (opening.amount == 0) refusal = IChannels.ZeroAmount.selector;
        else if (key == THIEF_KEY) refusal = ICredits.InvalidSignature.selector;
        else if (model.status != IChannels.Status.None) refusal = IChannels.AlreadyOpened.selector; // C4
        if (!tries(by, abi.encodeCall(channels.open, (opening, sig)), refusal)) return;
        (model.payer, model.closeDelay, model.status) = (payer, opening.closeDelay, IChannels.Status.Open);
        model.deposited = uint96(opening.amount);
    }

    function topsUp(uint256 which) private {
        IChannels.Channel storage model = models[which];
        (address by, uint96 amount) = (mostly(payer), draw(200));
        bytes4 refusal;
        if (model.status != IChannels.Status.Open) refusal = IChannels.ChannelNotOpen.selector;
        else if (amount == 0) refusal = IChannels.ZeroAmount.selector;
        else if (by != payer) refusal = IERC20Errors.ERC20InsufficientAllowance.selector; // nobody else has money
        bytes memory data = abi.encodeCall(channels.topUp, (payee, address(token), signers[which], amount));
        if (tries(by, data, refusal)) model.deposited += amount;
    }

    function claims(uint256 which) private {
        IChannels.SignedReceipt[] memory batch = new IChannels.SignedReceipt[](2);
        uint256 owed;
        for (uint256 i; i < 2; ++i) {
            (uint256 key, uint96 total) = draft(which);
            batch[i] = receipt(key, total);
            if (key != THIEF_KEY) owed += earns(models[which], total);
            which = draw(CHANNELS);
        }
        vm.prank(mostly(thief));
        eq(channels.claim(payee, address(token), batch), owed);
        pays(payee, owed);
    }

    function startsClose(uint256 which) private {
        IChannels.Channel storage model = models[which];
        address by = mostly(payer);
        bytes4 refusal;
        if (model.status != IChannels.Status.Open) refusal = IChannels.ChannelNotOpen.selector;
        else if (by != payer) refusal = IChannels.NotPayer.selector;
        if (!tries(by, abi.encodeCall(channels.startClose, (payee, address(token), signers[which])), refusal)) return;
        model.status = IChannels.Status.Closing;
        model.closesAt = uint40(block.timestamp + model.closeDelay);
    }

    function finishesClose(uint256 which) private {
        IChannels.Channel storage model = models[which];
        bytes4 refusal;
        if (model.status != IChannels.Status.Closing) refusal = IChannels.NotClosing.selector;
        else if (block.timestamp < model.closesAt) refusal = IChannels.TooEarly.selector; // C5
        bytes memory data = abi.encodeCall(channels.finishClose, (payee, address(token), signers[which]));
        if (tries(mostly(thief), data, refusal)) ends(model);
    }

    function closes(uint256 which) private {
        IChannels.Channel storage model = models[which];
        (uint256 key, uint96 total) = draft(which);
        uint96 last = draw(uint256(total) + 2);
        IChannels.Close memory action = closing(last);
        (action.signer, action.deadline) = (signers[which], uint40(block.timestamp));
        (address by, uint256 consents) = (mostly(thief), draw(4) == 0 ? THIEF_KEY : PAYEE_KEY);
        bool alive = model.status == IChannels.Status.Open || model.status == IChannels.Status.Closing;
        bytes4 refusal;
        if (by != payee && consents == THIEF_KEY) refusal = ICredits.InvalidSignature.selector;
        else if (!alive) refusal = IChannels.ChannelNotOpen.selector;
        else if (last <= model.claimed) refusal = 0; // nothing is paid, so any receipt will do
        else if (key == THIEF_KEY) refusal = ICredits.InvalidSignature.selector;
        else if (last > total || last > model.deposited) refusal = IChannels.AmountOutOfRange.selector;
        bytes memory data = abi.encodeCall(channels.close, (action, consent(consents, action), receipt(key, total)));
        if (!tries(by, data, refusal)) return;
        pays(payee, earns(model, last));
        ends(model);
    }

    function withdraws() private {
        address owner = mostly(credits[payee] == 0 ? payer : payee);
        address vault = address(uint160(owner) ^ 1); // of its own, and never refused
        address to = [vault, vault, owner, address(channels)][draw(4)];
        RefusingToken.Refusal refused = token.refusalOf(to);
        bytes4 refusal;
        if (to == address(channels)) refusal = ICredits.InvalidReceiver.selector;
        else if (credits[owner] == 0) refusal = ICredits.NothingToWithdraw.selector;
        else if (refused == RefusingToken.Refusal.Revert) refusal = RefusingToken.Denied.selector;
        else if (refused == RefusingToken.Refusal.ReturnFalse) refusal = SafeERC20.SafeERC20FailedOperation.selector;
        if (tries(owner, abi.encodeCall(channels.withdrawCredit, (address(token), to)), refusal)) credits[owner] = 0;
    }

    /// @dev Mostly until a closing channel may be finished, or a second less.
    function waits(uint256 which) private {
        uint256 end = models[which].closesAt;
        vm.warp(end > block.timestamp && draw(4) != 0 ? end - draw(4) / 3 : block.timestamp + draw(MIN_DELAY));
    }

    /// @dev C6: the payer leaves without anybody's help, and every credit is paid out.
    function depart() private {
        for (uint256 i; i < CHANNELS; ++i) {
            while (models[i].status == IChannels.Status.Open) startsClose(i);
            vm.warp(block.timestamp + 2 * MIN_DELAY);
            if (models[i].status == IChannels.Status.Closing) finishesClose(i);
        }
        eq(token.balanceOf(address(channels)), credits[payer] + credits[payee]);
        while (credits[payer] + credits[payee] != 0) withdraws();
        holds();
    }

    function draw(uint256 sides) private returns (uint32) {
        seed = uint256(keccak256(abi.encode(seed)));
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint32(seed % sides); // nobody asks for more
    }

    /// @dev The right person three times out of four, or anybody.
    function mostly(address right) private returns (address) {
        return draw(4) != 0 ? right : [payer, payee, thief][draw(3)];
    }

    /// @dev A channel in the right state, if there is one, three times out of four, or any.
    function pick(IChannels.Status right) private returns (uint256 which) {
        which = draw(CHANNELS);
        for (uint256 i = draw(4) == 0 ? CHANNELS : 0; i < CHANNELS && models[which].status != right; ++i) {
            which = (which + 1) % CHANNELS;
        }
    }

    /// @dev Who signs a receipt, and for how much: forged, stale, as before, beyond the deposit, or fresh.
    function draft(uint256 which) private returns (uint256 key, uint96 total) {
        IChannels.Channel storage model = models[which];
        uint256 kind = draw(7);
        key = kind == 0 ? THIEF_KEY : SIGNER_KEY + which;
        if (kind == 1) total = draw(uint256(model.claimed) + 1);
        else if (kind == 2) total = signed[which];
        else if (kind == 3) total = model.deposited + 1 + draw(100);
        else total = model.claimed + 1 + draw(100);
        if (key != THIEF_KEY && total > signed[which]) signed[which] = total;
    }

    /// @dev Calls, and compares the name of the error; 0 where there should be none.
    function tries(address by, bytes memory data, bytes4 refusal) private returns (bool done) {
        bytes memory answer;
        vm.prank(by);
        (done, answer) = address(channels).call(data);
        // forge-lint: disable-next-line(unsafe-typecast)
        bytes4 name = bytes4(answer);
        if (name != refusal || done != (refusal == 0)) revert NotEqual(uint32(name), uint32(refusal));
    }

    function earns(IChannels.Channel storage model, uint96 total) private returns (uint256 owed) {
        uint96 earned = total < model.deposited ? total : model.deposited;
        if (model.status == IChannels.Status.Closed || earned <= model.claimed) return 0;
        owed = earned - model.claimed;
        model.claimed = earned;
    }

    function ends(IChannels.Channel storage model) private {
        model.status = IChannels.Status.Closed;
        pays(payer, model.deposited - model.claimed);
    }

    function pays(address to, uint256 amount) private {
        if (token.refusalOf(to) != RefusingToken.Refusal.None) credits[to] += amount;
    }

    function holds() private view {
        IChannels.Channel[] memory given = channels.channelsOf(payee, address(token), signers);
        eq(uint256(keccak256(abi.encode(given))), uint256(keccak256(abi.encode(models))));
        (uint256 locked, uint256 claimed) = (0, 0);
        for (uint256 i; i < CHANNELS; ++i) {
            if (given[i].claimed > given[i].deposited) revert NotEqual(given[i].claimed, given[i].deposited); // C2
            if (given[i].claimed > signed[i]) revert NotEqual(given[i].claimed, signed[i]); // C6
            claimed += given[i].claimed;
            if (given[i].status != IChannels.Status.Closed) locked += given[i].deposited - given[i].claimed;
        }
        eq(token.balanceOf(address(channels)), locked + credits[payer] + credits[payee]); // C1
        eq(wealth(payee), claimed); // C3
        eq(wealth(payer), (1 << 100) - claimed - locked); // C5: what was minted, less what is not yet back
        eq(wealth(thief), 0); // C6
    }

    /// @dev What somebody has, in hand, in its vault, or as a credit.
    function wealth(address person) private view returns (uint256) {
        eq(channels.credit(person, address(token)), credits[person]);
        return token.balanceOf(person) + token.balanceOf(address(uint160(person) ^ 1)) + credits[person];
    }
}
