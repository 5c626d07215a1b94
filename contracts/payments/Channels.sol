// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {IChannels} from "../interfaces/IChannels.sol";
import {Deposits} from "../libraries/Deposits.sol";
import {Credits} from "./Credits.sol";
import {Receipts} from "./Receipts.sol";

/// @title Channels
/// @dev Invariants are numbered as in tests/invariants/README.md. Every entry point that changes state is guarded
/// against reentrancy as a whole, because any token, good or bad, may be named.
contract Channels is IChannels, Credits {
    using Receipts for Receipts.Template;

    /// @dev What a claim reads and writes: one slot.
    struct Balance {
        uint96 deposited;
        uint96 claimed;
        uint40 closesAt;
        Status status;
    }

    struct State {
        Balance balance;
        address payer;
        uint32 closeDelay;
    }

    bytes32 private constant OPENING_TYPEHASH = keccak256(
        "Opening(address payer,address payee,address token,address signer,uint32 closeDelay,uint128 amount,bytes32 salt,uint40 deadline)"
    );
    bytes32 private constant TOP_UP_TYPEHASH = keccak256(
        "TopUp(address payer,address payee,address token,address signer,uint128 amount,bytes32 salt,uint40 deadline)"
    );
    bytes32 private constant START_CLOSE_TYPEHASH =
        keccak256("StartClose(address payee,address token,address signer,uint40 deadline)");
    bytes32 private constant CLOSE_TYPEHASH =
        keccak256("Close(address payee,address token,address signer,uint128 finalCumulative,uint40 deadline)");

    /// @inheritdoc IChannels
    uint256 public constant MAX_CLAIMS = 1000;
    /// @inheritdoc IChannels
    uint256 public constant MAX_OPENINGS = 200;

    /// @inheritdoc IChannels
    uint32 public immutable minCloseDelay;
    /// @inheritdoc IChannels
    uint32 public immutable maxCloseDelay;

    mapping(address payee => mapping(address token => mapping(address signer => State))) private _channels;

    constructor(uint32 minCloseDelay_, uint32 maxCloseDelay_) EIP712("Waypost Channels", "1") {
        if (minCloseDelay_ == 0 || minCloseDelay_ > maxCloseDelay_) {
            revert CloseDelayOutOfRange(minCloseDelay_, 1, maxCloseDelay_);
        }
        minCloseDelay = minCloseDelay_;
        maxCloseDelay = maxCloseDelay_;
    }

    // ------------------------------------------------------------------------------------------------------------
    // Open and top up
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc IChannels
    function open(Opening calldata opening, Signature calldata signerSig) external nonReentrant {
        if (msg.sender != opening.payer) revert NotPayer(msg.sender, opening.payer);
        _open(opening, signerSig);
        Deposits.pull(opening.token, opening.payer, opening.amount);
    }

    /// @inheritdoc IChannels
    function openMany(Opening[] calldata openings, Signature[] calldata signerSigs) external nonReentrant {
        if (openings.length > MAX_OPENINGS) revert BatchTooLarge(openings.length, MAX_OPENINGS);
        if (openings.length != signerSigs.length) revert LengthMismatch(openings.length, signerSigs.length);
        if (openings.length == 0) revert ZeroAmount();
        address token = openings[0].token;
        uint256 sum;
        for (uint256 i; i < openings.length; ++i) {
            Opening calldata opening = openings[i];
            if (msg.sender != opening.payer) revert NotPayer(msg.sender, opening.payer);
            if (opening.token != token) revert MixedBatch(opening.token, token);
            _open(opening, signerSigs[i]);
            sum += opening.amount;
        }
        Deposits.pull(token, msg.sender, sum);
    }

    /// @inheritdoc IChannels
    function openFor(
        Opening calldata opening,
        Signature calldata signerSig,
        bytes calldata payerSig,
        Deposits.Permit calldata permit
    ) external nonReentrant {
        _authorize(opening.payer, hashOpening(opening), opening.deadline, payerSig);
        _open(opening, signerSig);
        Deposits.pullWithPermit(opening.token, opening.payer, opening.amount, permit);
    }

    /// @inheritdoc IChannels
    function openWithAuthorization(
        Opening calldata opening,
        Signature calldata signerSig,
        Deposits.Authorization calldata authorization
    ) external nonReentrant {
        _open(opening, signerSig);
        Deposits.pullWithAuthorization(
            opening.token, opening.payer, opening.amount, hashOpening(opening), authorization
        );
    }

    /// @inheritdoc IChannels
    function topUp(address payee, address token, address signer, uint128 amount) external nonReentrant {
        _topUp(payee, token, signer, msg.sender, amount);
        Deposits.pull(token, msg.sender, amount);
    }

    /// @inheritdoc IChannels
    function topUpFor(TopUp calldata action, bytes calldata payerSig, Deposits.Permit calldata permit)
        external
        nonReentrant
    {
        _authorizeOnce(action.payer, hashTopUp(action), action.deadline, payerSig);
        _topUp(action.payee, action.token, action.signer, action.payer, action.amount);
        Deposits.pullWithPermit(action.token, action.payer, action.amount, permit);
    }

    /// @inheritdoc IChannels
    function topUpWithAuthorization(TopUp calldata action, Deposits.Authorization calldata authorization)
        external
        nonReentrant
    {
        _requireBy(action.deadline);
        bytes32 structHash = hashTopUp(action);
        _useOnce(_hashTypedDataV4(structHash)); // the payer may have signed the other form of the same action, too
        _topUp(action.payee, action.token, action.signer, action.payer, action.amount);
        Deposits.pullWithAuthorization(action.token, action.payer, action.amount, structHash, authorization);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Claim
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc IChannels
    function claim(address payee, address token, SignedReceipt[] calldata receipts)
        external
        nonReentrant
        returns (uint256 total_)
    {
        if (receipts.length > MAX_CLAIMS) revert BatchTooLarge(receipts.length, MAX_CLAIMS);
        mapping(address signer => State) storage channels = _channels[payee][token];
        Receipts.Template template = Receipts.template(_domainSeparatorV4(), payee, token);
        bytes32[] memory entries = new bytes32[](receipts.length);
        uint256 paid;
        for (uint256 i; i < receipts.length; ++i) {
            (address signer, uint256 cumulative) = template.read(receipts[i]);
            uint256 amount = _claim(channels[signer].balance, cumulative);
            if (amount == 0) continue;
            unchecked {
                total_ += amount; // a thousand uint96 at most
                entries[paid++] = bytes32((uint256(uint160(signer)) << 96) | amount);
            }
        }
        assembly ("memory-safe") {
            mstore(entries, paid) // forget the room for entries that were skipped
        }
        emit Claimed(payee, token, total_, entries);
        _pay(token, payee, total_);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Close
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc IChannels
    function startClose(address payee, address token, address signer) external nonReentrant {
        address payer = _opened(payee, token, signer).payer;
        if (msg.sender != payer) revert NotPayer(msg.sender, payer);
        _startClose(payee, token, signer);
    }

    /// @inheritdoc IChannels
    function startCloseFor(address payee, address token, address signer, uint40 deadline, bytes calldata payerSig)
        external
        nonReentrant
    {
        address payer = _opened(payee, token, signer).payer;
        bytes32 structHash = keccak256(abi.encode(START_CLOSE_TYPEHASH, payee, token, signer, deadline));
        _authorize(payer, structHash, deadline, payerSig);
        _startClose(payee, token, signer);
    }

    /// @inheritdoc IChannels
    function finishClose(address payee, address token, address signer) external nonReentrant {
        Balance storage balance = _channels[payee][token][signer].balance;
        if (balance.status != Status.Closing) revert NotClosing(balance.status);
        // C5: nothing goes back to the payer before this time, except by the payee's consent.
        if (block.timestamp < balance.closesAt) revert TooEarly(block.timestamp, balance.closesAt);
        _finish(payee, token, signer, balance.claimed);
    }

    /// @inheritdoc IChannels
    function close(Close calldata action, bytes calldata payeeSig, SignedReceipt calldata receipt)
        external
        nonReentrant
    {
        if (msg.sender == action.payee) {
            _requireBy(action.deadline);
        } else {
            _authorize(action.payee, keccak256(abi.encode(CLOSE_TYPEHASH, action)), action.deadline, payeeSig);
        }
        Balance storage balance = _channels[action.payee][action.token][action.signer].balance;
        if (balance.status != Status.Open && balance.status != Status.Closing) revert ChannelNotOpen(balance.status);
        uint96 claimed = balance.claimed;
        uint96 owed;
        if (action.finalCumulative > claimed) {
            // The payee can give up what it earned, but only the signer can say what it earned.
            Receipts.Template template = Receipts.template(_domainSeparatorV4(), action.payee, action.token);
            (address signer, uint256 cumulative) = template.read(receipt);
            if (signer != action.signer) revert InvalidSignature(action.signer);
            uint96 earned = _atMost(balance.deposited, cumulative);
            if (action.finalCumulative > earned) revert AmountOutOfRange(action.finalCumulative, earned);
            owed = _atMost(earned, action.finalCumulative) - claimed;
            balance.claimed = claimed + owed;
        }
        _finish(action.payee, action.token, action.signer, claimed + owed);
        _pay(action.token, action.payee, owed);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Views
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc IChannels
    function channel(address payee, address token, address signer) public view returns (Channel memory) {
        State storage state = _channels[payee][token][signer];
        Balance memory balance = state.balance;
        return Channel({
            payer: state.payer,
            deposited: balance.deposited,
            claimed: balance.claimed,
            closesAt: balance.closesAt,
            closeDelay: state.closeDelay,
            status: balance.status
        });
    }

    /// @inheritdoc IChannels
    function channelsOf(address payee, address token, address[] calldata signers)
        external
        view
        returns (Channel[] memory channels)
    {
        channels = new Channel[](signers.length);
        for (uint256 i; i < signers.length; ++i) {
            channels[i] = channel(payee, token, signers[i]);
        }
    }

    /// @inheritdoc IChannels
    function hashOpening(Opening calldata opening) public pure returns (bytes32) {
        return keccak256(abi.encode(OPENING_TYPEHASH, opening));
    }

    /// @inheritdoc IChannels
    function hashTopUp(TopUp calldata action) public pure returns (bytes32) {
        return keccak256(abi.encode(TOP_UP_TYPEHASH, action));
    }

    // ------------------------------------------------------------------------------------------------------------
    // State changes, before any token is called
    // ------------------------------------------------------------------------------------------------------------

    function _opened(address payee, address token, address signer) private view returns (State storage state) {
        state = _channels[payee][token][signer];
        Status status = state.balance.status;
        if (status != Status.Open) revert ChannelNotOpen(status);
    }

    function _open(Opening calldata opening, Signature calldata signerSig) private {
        _requireBy(opening.deadline);
        (address payer, address payee, address token) = (opening.payer, opening.payee, opening.token);
        (address signer, uint32 closeDelay) = (opening.signer, opening.closeDelay);
        uint96 amount = _toAmount(opening.amount);
        if (payee == address(0) || payee == token || payee == address(this)) revert InvalidPayee(payee);
        if (signer == address(0)) revert InvalidSigner(signer);
        if (closeDelay < minCloseDelay || closeDelay > maxCloseDelay) {
            revert CloseDelayOutOfRange(closeDelay, minCloseDelay, maxCloseDelay);
        }
        bytes32 digest = _hashTypedDataV4(hashOpening(opening));
        (address recovered,,) = ECDSA.tryRecover(digest, signerSig.r, signerSig.vs);
        if (recovered != signer) revert InvalidSignature(signer);

        State storage state = _channels[payee][token][signer];
        // C4: a signer opens once per payee and token, ever; an old receipt can never meet a new deposit.
        if (state.balance.status != Status.None) revert AlreadyOpened(payee, token, signer);
        state.balance.deposited = amount;
        state.balance.status = Status.Open;
        state.payer = payer;
        state.closeDelay = closeDelay;
        emit Opened(payee, token, signer, payer, amount, closeDelay);
    }

    function _topUp(address payee, address token, address signer, address from, uint128 amount_) private {
        Balance storage balance = _opened(payee, token, signer).balance;
        uint96 amount = _toAmount(amount_);
        uint96 deposited = balance.deposited;
        uint96 room = type(uint96).max - deposited;
        if (amount > room) revert AmountOutOfRange(amount, room);
        balance.deposited = deposited + amount;
        emit ToppedUp(payee, token, signer, from, amount, deposited + amount);
    }

    /// @dev C2: claimed only grows, never past deposited.
    function _claim(Balance storage balance, uint256 cumulative) private returns (uint256 amount) {
        if (balance.status == Status.Closed) return 0;
        uint96 claimed = balance.claimed;
        uint96 earned = _atMost(balance.deposited, cumulative);
        if (earned <= claimed) return 0;
        balance.claimed = earned;
        unchecked {
            return earned - claimed;
        }
    }

    function _startClose(address payee, address token, address signer) private {
        State storage state = _channels[payee][token][signer];
        uint40 closesAt = uint40(block.timestamp + state.closeDelay);
        state.balance.closesAt = closesAt;
        state.balance.status = Status.Closing;
        emit CloseStarted(payee, token, signer, closesAt);
    }

    /// @dev Ends a channel and refunds its payer.
    function _finish(address payee, address token, address signer, uint96 claimed) private {
        State storage state = _channels[payee][token][signer];
        uint96 refund = state.balance.deposited - claimed;
        state.balance.status = Status.Closed;
        emit Closed(payee, token, signer, claimed, refund);
        _pay(token, state.payer, refund);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Amounts
    // ------------------------------------------------------------------------------------------------------------

    function _toAmount(uint128 amount) private pure returns (uint96) {
        if (amount == 0) revert ZeroAmount();
        if (amount > type(uint96).max) revert AmountOutOfRange(amount, type(uint96).max);
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint96(amount); // checked above
    }

    function _atMost(uint96 max, uint256 amount) private pure returns (uint96) {
        // forge-lint: disable-next-line(unsafe-typecast)
        return amount < max ? uint96(amount) : max; // less than a uint96
    }
}
