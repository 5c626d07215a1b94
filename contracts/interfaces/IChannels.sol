// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Deposits} from "../libraries/Deposits.sol";
import {ICredits} from "./ICredits.sol";

/// @title Channels paid by receipts
/// @notice A payer locks a deposit for one payee. The channel's signer then signs *receipts*: running totals of what
/// the payee has earned. The payee claims many receipts, of many payers, in one transaction.
/// @dev The key that signs receipts is the channel: it is found under (payee, token, signer), so the signer must be a
/// key made for this channel alone. Amounts are in the token's base units, times are Unix seconds, and every signature
/// is over EIP-712 typed data in the domain ("Waypost Channels", "1", chainId, this contract), which EIP-5267 reports.
/// Nobody administers this contract: no owner, no upgrade, no pause, no fee.
/// Any standard ERC-20 works. A token that delivers less than it was asked for is refused when it is deposited; one
/// whose balances change by themselves can leave its own channels, and nobody else's, short.
interface IChannels is ICredits {
    // ------------------------------------------------------------------------------------------------------------
    // Structs
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Where a channel is in its life: None → Open → (Closing) → Closed, never backwards.
    enum Status {
        None,
        Open,
        Closing,
        Closed
    }

    /// @notice A channel as read by `channel` and `channelsOf`.
    /// @param payer Gets back what the payee did not claim.
    /// @param deposited All that was ever put in.
    /// @param claimed All that was ever paid to the payee.
    /// @param closesAt When `finishClose` becomes possible; 0 unless closing was started.
    /// @param closeDelay Seconds between `startClose` and `finishClose`.
    /// @param status Where the channel is in its life.
    struct Channel {
        address payer;
        uint96 deposited;
        uint96 claimed;
        uint40 closesAt;
        uint32 closeDelay;
        Status status;
    }

    /// @notice Typed data: what a payer agrees to when a channel opens. The signer signs it always, the payer where the
    /// payer is not the caller.
    /// @param salt Makes two otherwise equal openings differ.
    /// @param deadline Last second at which it may be used.
    struct Opening {
        address payer;
        address payee;
        address token;
        address signer;
        uint32 closeDelay;
        uint128 amount;
        bytes32 salt;
        uint40 deadline;
    }

    /// @notice Typed data: adds `amount` to an open channel.
    /// @param payer Who pays for the top-up, whoever the channel's payer is.
    struct TopUp {
        address payer;
        address payee;
        address token;
        address signer;
        uint128 amount;
        bytes32 salt;
        uint40 deadline;
    }

    /// @notice Typed data, signed by the payee: ends a channel at once with `finalCumulative` as its last total.
    struct Close {
        address payee;
        address token;
        address signer;
        uint128 finalCumulative;
        uint40 deadline;
    }

    /// @notice A signature in the compact form of EIP-2098.
    struct Signature {
        bytes32 r;
        bytes32 vs;
    }

    /// @notice A channel signer's `Receipt(address payee,address token,uint128 cumulative)`; payee and token come from
    /// the call, the signer from the signature (EIP-2098).
    /// @param cumulative All that the payee has earned on the channel so far; a higher total replaces a lower one.
    struct SignedReceipt {
        uint128 cumulative;
        bytes32 r;
        bytes32 vs;
    }

    // ------------------------------------------------------------------------------------------------------------
    // Events
    // ------------------------------------------------------------------------------------------------------------

    /// @notice A channel opened.
    event Opened(
        address indexed payee,
        address indexed token,
        address indexed signer,
        address payer,
        uint96 amount,
        uint32 closeDelay
    );

    /// @notice `from` added `amount` to a channel, which makes `deposited` in all.
    event ToppedUp(
        address indexed payee,
        address indexed token,
        address indexed signer,
        address from,
        uint96 amount,
        uint96 deposited
    );

    /// @notice A batch of receipts was claimed; emitted also when none of them was worth anything.
    /// @param total What the payee was paid or credited.
    /// @param entries One per paid channel: its signer in the upper 160 bits, the amount in the lower 96.
    event Claimed(address indexed payee, address indexed token, uint256 total, bytes32[] entries);

    /// @notice The payer wants out: the payee has until `closesAt`, and then until somebody finishes, to claim.
    event CloseStarted(address indexed payee, address indexed token, address indexed signer, uint40 closesAt);

    /// @notice A channel ended for good.
    /// @param claimed What the payee was paid over the channel's whole life, this call included.
    /// @param refund What went back to the payer.
    event Closed(address indexed payee, address indexed token, address indexed signer, uint96 claimed, uint96 refund);

    // ------------------------------------------------------------------------------------------------------------
    // Errors
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Only the payer may do this, or somebody with the payer's signature.
    error NotPayer(address caller, address payer);
    /// @notice A channel's signer cannot be this address.
    error InvalidSigner(address signer);
    /// @notice A payee cannot be nobody, the token, or this contract.
    error InvalidPayee(address payee);
    /// @notice This signer already had a channel with this payee and token.
    error AlreadyOpened(address payee, address token, address signer);
    /// @notice The close delay, in seconds, is outside of what this deployment accepts.
    error CloseDelayOutOfRange(uint256 given, uint256 min, uint256 max);
    /// @notice The amount is beyond what fits, or what may be paid.
    error AmountOutOfRange(uint256 given, uint256 max);
    /// @notice The amount must be positive.
    error ZeroAmount();
    /// @notice The channel does not exist, or is past the state that this needs.
    error ChannelNotOpen(Status status);
    /// @notice Closing must have been started.
    error NotClosing(Status status);
    /// @notice The payee still has time to claim.
    error TooEarly(uint256 timestamp, uint256 closesAt);
    /// @notice More entries than one call takes.
    error BatchTooLarge(uint256 given, uint256 max);
    /// @notice Each opening needs one signature of its signer.
    error LengthMismatch(uint256 openings, uint256 signatures);
    /// @notice All openings of a batch name the same token.
    error MixedBatch(address given, address expected);

    // ------------------------------------------------------------------------------------------------------------
    // Open and top up
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Opens a channel with the caller's tokens. The caller must be the payer and have approved the amount.
    /// @param opening The channel's terms. Its signer must never have had a channel with this payee and token.
    /// @param signerSig The signer's signature of `opening`: nobody can occupy another's key.
    function open(Opening calldata opening, Signature calldata signerSig) external;

    /// @notice Opens channels with several payees, or several signers, for one transfer of the caller's tokens.
    /// @dev All or nothing. At most MAX_OPENINGS; the same payer (the caller) and the same token throughout.
    function openMany(Opening[] calldata openings, Signature[] calldata signerSigs) external;

    /// @notice Opens a channel with the payer's approved tokens, for a payer who sends no transaction.
    /// @dev Anybody may call. It is the payer's signature of the opening that moves the money; the permit, which may be
    /// absent, used or wrong, does no more than set the allowance.
    /// @param payerSig The payer's signature of `opening`, ECDSA (65 bytes) or ERC-1271.
    function openFor(
        Opening calldata opening,
        Signature calldata signerSig,
        bytes calldata payerSig,
        Deposits.Permit calldata permit
    ) external;

    /// @notice Opens a channel with an ERC-3009 authorization whose nonce is `hashOpening(opening)`.
    /// @dev Anybody may call: the payer needs neither ETH nor an allowance. Who copies the call from the mempool does
    /// the sender's work: the channel that opens is the same.
    function openWithAuthorization(
        Opening calldata opening,
        Signature calldata signerSig,
        Deposits.Authorization calldata authorization
    ) external;

    /// @notice Adds the caller's tokens to an open channel that is not closing.
    /// @dev Anybody may call. The money becomes the channel's: what is not claimed goes back to the channel's payer.
    function topUp(address payee, address token, address signer, uint128 amount) external;

    /// @notice Adds approved tokens of `action.payer`, who signed the top-up, to an open channel. Once per signature.
    /// @param payerSig `action.payer`'s signature of `action`, ECDSA (65 bytes) or ERC-1271.
    function topUpFor(TopUp calldata action, bytes calldata payerSig, Deposits.Permit calldata permit) external;

    /// @notice Adds tokens by an ERC-3009 authorization whose nonce is `hashTopUp(action)` to an open channel.
    function topUpWithAuthorization(TopUp calldata action, Deposits.Authorization calldata authorization) external;

    // ------------------------------------------------------------------------------------------------------------
    // Claim
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Pays the payee, per receipt, min(cumulative, deposited) less what the channel has paid before.
    /// @dev Anybody may call; only the payee is paid. Entries that are stale, unknown, closed or malformed are skipped,
    /// so no payer can spoil a batch. One transfer and one event, whatever the number of receipts. If the token refuses
    /// the transfer, the payee is credited instead.
    /// @param receipts At most MAX_CLAIMS, in any order.
    /// @return total What the payee was paid or credited.
    function claim(address payee, address token, SignedReceipt[] calldata receipts) external returns (uint256 total);

    // ------------------------------------------------------------------------------------------------------------
    // Close
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Starts the close delay of the caller's channel. Claims stay possible until `finishClose`.
    function startClose(address payee, address token, address signer) external;

    /// @notice Starts the close delay with the payer's signature of
    /// `StartClose(address payee,address token,address signer,uint40 deadline)`.
    function startCloseFor(address payee, address token, address signer, uint40 deadline, bytes calldata payerSig)
        external;

    /// @notice Gives the payer back, once the close delay is over, what was not claimed. Anybody may call.
    function finishClose(address payee, address token, address signer) external;

    /// @notice Ends a channel at once: the payee is paid up to `action.finalCumulative`, the payer gets the rest.
    /// @dev The payee's consent is needed, by being the caller or by `payeeSig`: it gives up what exceeds the final
    /// total. Consent does not entitle: a final total above what was claimed before needs the channel signer's own
    /// receipt for at least as much. A payee that has signed should accept no further receipts until the deadline has
    /// passed, or claim them first: whoever holds its consent may use it at any time.
    /// @param payeeSig The payee's signature of `action`, ECDSA (65 bytes) or ERC-1271; ignored if the payee calls.
    /// @param receipt Ignored if the final total is not above what was claimed.
    function close(Close calldata action, bytes calldata payeeSig, SignedReceipt calldata receipt) external;

    // ------------------------------------------------------------------------------------------------------------
    // Views
    // ------------------------------------------------------------------------------------------------------------

    /// @notice One channel; all zero if it was never opened.
    function channel(address payee, address token, address signer) external view returns (Channel memory);

    /// @notice Many channels of one payee, in the order of `signers`.
    function channelsOf(address payee, address token, address[] calldata signers)
        external
        view
        returns (Channel[] memory);

    /// @notice The EIP-712 struct hash of an opening; the nonce of the authorization that pays for it.
    function hashOpening(Opening calldata opening) external pure returns (bytes32);

    /// @notice The EIP-712 struct hash of a top-up; the nonce of the authorization that pays for it.
    function hashTopUp(TopUp calldata action) external pure returns (bytes32);

    /// @notice Shortest accepted close delay, in seconds.
    function minCloseDelay() external view returns (uint32);

    /// @notice Longest accepted close delay, in seconds.
    function maxCloseDelay() external view returns (uint32);

    /// @notice Most receipts in one `claim`.
    function MAX_CLAIMS() external view returns (uint256);

    /// @notice Most openings in one `openMany`.
    function MAX_OPENINGS() external view returns (uint256);
}
