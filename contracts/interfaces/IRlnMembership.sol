// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Deposits} from "../libraries/Deposits.sol";
import {ICredits} from "./ICredits.sol";

/// @title Memberships with a rate limit and a stake behind it (RLN)
/// @notice A *member* is a commitment to a secret, with a number of messages that it may send in an epoch. Members prove
/// off chain, without saying who they are, that they stay within it; whoever does not reveals its own secret, and
/// anybody can slash the stake with it. A fee streams to the *home node* that the member chose.
/// @dev Amounts are in base units of one token, times are Unix seconds, and every signature is over EIP-712 typed data in
/// the domain ("Waypost RlnMembership", "1", chainId, this contract). Nobody administers this contract, and no price
/// ever changes.
///
/// The tree of members is off chain: the leaf at `index` becomes Poseidon(idCommitment, rate) with `Registered`, and
/// zero with the first of `Exited`, `Expired` and `Slashed`. Everybody computes the same roots from these events.
///
/// What registration fixed is a member's *record*. The contract keeps its hash, and takes the record back as an
/// argument; it never changes, so nobody can make another's call fail by changing it first. `Registered` holds all of it.
///
/// Nobody proves to know the secret when it registers, so anybody can register anybody's commitment, once. Who does that
/// gives its stake into the hands of the secret's holder: that one can slash it, or send messages at its cost.
interface IRlnMembership is ICredits {
    // ------------------------------------------------------------------------------------------------------------
    // Structs
    // ------------------------------------------------------------------------------------------------------------

    /// @notice What registration fixes.
    /// @param idCommitment Poseidon(secret).
    /// @param owner Who paid, may exit, and gets the stake back.
    /// @param homeNode Whom the fee is paid to.
    /// @param index Of the leaf.
    /// @param rate Messages in an epoch.
    /// @param start When it was registered.
    /// @param periods Paid for then.
    struct Record {
        uint256 idCommitment;
        address owner;
        address homeNode;
        uint32 index;
        uint16 rate;
        uint40 start;
        uint32 periods;
    }

    /// @notice What has changed since.
    /// @param recordHash Hash of the record; 0 if it never registered, 1 if it has ended.
    /// @param added Periods paid for later.
    /// @param collectedAt The fee is paid out up to here; 0 if nothing was.
    /// @param leftAt When it exited or expired; 0 if it is in the tree.
    /// @param expired Whether somebody was paid for removing it.
    struct Member {
        bytes32 recordHash;
        uint32 added;
        uint40 collectedAt;
        uint40 leftAt;
        bool expired;
    }

    /// @notice Typed data: a payer, who will be the owner, registers a commitment. Once, since a commitment registers once.
    /// @param deadline Last second at which it may be used.
    struct Registration {
        address payer;
        uint256 idCommitment;
        uint16 rate;
        address homeNode;
        uint32 periods;
        uint40 deadline;
    }

    /// @notice Typed data: a payer, whoever owns the member, pays for more periods.
    /// @param salt Makes two otherwise equal extensions differ.
    struct Extension {
        address payer;
        uint256 idCommitment;
        uint32 periods;
        bytes32 salt;
        uint40 deadline;
    }

    // ------------------------------------------------------------------------------------------------------------
    // Events
    // ------------------------------------------------------------------------------------------------------------

    /// @notice The leaf at `index` is Poseidon(idCommitment, rate) from now on.
    event Registered(
        uint256 indexed idCommitment,
        address indexed owner,
        address indexed homeNode,
        uint32 index,
        uint16 rate,
        uint40 start,
        uint32 periods
    );

    /// @notice `payer` paid for `periods` more; the membership is paid until `paidUntil`.
    event Extended(uint256 indexed idCommitment, address indexed payer, uint32 periods, uint256 paidUntil);

    /// @notice Fees up to now were paid to a home node.
    /// @param paid To the home node.
    /// @param burned A fifth of the fees.
    /// @param idCommitments The members that they came from.
    event Collected(address indexed homeNode, uint256 paid, uint256 burned, uint256[] idCommitments);

    /// @notice The owner ended the membership: the leaf is zero from now on.
    event Exited(uint256 indexed idCommitment, uint32 index, uint256 withdrawableAt);

    /// @notice `caller` was paid `reward` for removing a member that is not paid for: the leaf is zero from now on.
    event Expired(
        uint256 indexed idCommitment, address indexed caller, uint32 index, uint256 reward, uint256 withdrawableAt
    );

    /// @notice What was left of stake and fee went to the owner; `index` may be given to another.
    event Withdrawn(uint256 indexed idCommitment, address indexed owner, uint32 index, uint256 amount);

    /// @notice Somebody will reveal a secret.
    event SlashCommitted(bytes32 indexed slashHash);

    /// @notice The leaf is zero from now on, and the secret is known to everybody.
    /// @param reward To `receiver`.
    /// @param burned The rest of the stake, and the fee for the time to come.
    event Slashed(
        uint256 indexed idCommitment,
        address indexed receiver,
        uint32 index,
        uint256 secret,
        uint256 reward,
        uint256 burned
    );

    // ------------------------------------------------------------------------------------------------------------
    // Errors
    // ------------------------------------------------------------------------------------------------------------

    /// @notice A commitment is a field element other than zero.
    error InvalidCommitment(uint256 idCommitment);
    /// @notice A commitment registers once, ever.
    error AlreadyRegistered(uint256 idCommitment);
    /// @notice A member may send something.
    error ZeroRate();
    /// @notice Periods, with those paid before, are outside of what fits.
    error PeriodsOutOfRange(uint256 given, uint256 min, uint256 max);
    /// @notice The amount is beyond what fits.
    error AmountOutOfRange(uint256 given, uint256 max);
    /// @notice Every leaf is taken, or was the leaf of somebody whose proofs might still be accepted.
    error TreeFull(uint256 capacity);
    /// @notice This is not the record of a member: it never registered, has ended, or registered otherwise.
    error WrongRecord(uint256 idCommitment);
    /// @notice Only the owner may do this, or somebody with the owner's signature.
    error NotOwner(address caller, address owner);
    /// @notice The member has exited or expired.
    error AlreadyLeft(uint256 idCommitment, uint256 leftAt);
    /// @notice The member must exit or expire before.
    error NotLeft(uint256 idCommitment);
    /// @notice The membership is still paid for, or may still be slashed.
    error TooEarly(uint256 timestamp, uint256 until);
    /// @notice More members than one call takes.
    error BatchTooLarge(uint256 given, uint256 max);
    /// @notice A secret is a field element.
    error InvalidSecret(uint256 secret);
    /// @notice The secret's commitment is another.
    error WrongSecret(uint256 idCommitment, uint256 expected);
    /// @notice Nobody has committed to this slash.
    error NotCommitted(bytes32 slashHash);
    /// @notice A slash is revealed in one of these blocks.
    error RevealOutOfRange(uint256 blockNumber, uint256 first, uint256 last);
    /// @notice A constructor argument is outside of what is safe.
    error ParameterOutOfRange(uint256 given, uint256 min, uint256 max);

    // ------------------------------------------------------------------------------------------------------------
    // Register and extend
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Registers a commitment with the caller's approved tokens: its stake, and the fee of `periods`.
    /// @dev The caller becomes the owner. Who pays for another's commitment trusts the secret's holder with the stake, and
    /// the holder must expect that the payer exits. Somebody may register a commitment first that it saw in the mempool:
    /// the holder takes another secret, and may slash that stake with the one that it does not use.
    /// @param rate Messages in an epoch, at least 1.
    /// @param homeNode Whom four fifths of the fee are paid to; a fifth is burned, so that naming oneself is not free.
    function register(uint256 idCommitment, uint16 rate, address homeNode, uint32 periods) external;

    /// @notice Registers a commitment for a payer who sends no transaction. Anybody may call.
    /// @dev It is the payer's signature of the registration that moves the money; the permit, which may be absent, used or
    /// wrong, does no more than set the allowance.
    /// @param payerSig The payer's signature of `registration`, ECDSA (65 bytes) or ERC-1271.
    function registerFor(Registration calldata registration, bytes calldata payerSig, Deposits.Permit calldata permit)
        external;

    /// @notice Registers a commitment by an ERC-3009 authorization whose nonce is `hashRegistration(registration)`, and
    /// whose value is the cost.
    /// @dev Anybody may call: the payer needs neither ETH nor an allowance.
    function registerWithAuthorization(
        Registration calldata registration,
        Deposits.Authorization calldata authorization
    ) external;

    /// @notice Pays for more periods, from where the membership is paid until, with the caller's approved tokens.
    /// @dev Anybody may call. The money becomes the member's: what does not stream goes to its owner. A member that is late
    /// pays for the time in between, too.
    function extend(Record calldata record, uint32 periods) external;

    /// @notice Pays for more periods with approved tokens of `action.payer`, who signed it. Once per signature.
    /// @param payerSig `action.payer`'s signature of `action`, ECDSA (65 bytes) or ERC-1271.
    function extendFor(
        Extension calldata action,
        Record calldata record,
        bytes calldata payerSig,
        Deposits.Permit calldata permit
    ) external;

    /// @notice Pays for more periods by an ERC-3009 authorization whose nonce is `hashExtension(action)`.
    function extendWithAuthorization(
        Extension calldata action,
        Record calldata record,
        Deposits.Authorization calldata authorization
    ) external;

    // ------------------------------------------------------------------------------------------------------------
    // Fees
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Pays a home node what has streamed from its members by now, and burns a fifth.
    /// @dev Anybody may call. Members of another home node, or that have ended, are skipped, so that nobody can spoil a
    /// batch. However often it is called, the sum is the same.
    /// @param records At most MAX_COLLECTS.
    /// @return paid To the home node.
    function collect(address homeNode, Record[] calldata records) external returns (uint256 paid);

    // ------------------------------------------------------------------------------------------------------------
    // Leave
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Ends the caller's membership. The period that has begun is the home node's; later ones are paid back.
    /// Stake and rest can be slashed until they are withdrawn.
    function exit(Record calldata record) external;

    /// @notice Ends a membership with its owner's signature of `Exit(uint256 idCommitment,uint40 deadline)`.
    /// @param ownerSig ECDSA (65 bytes) or ERC-1271.
    function exitFor(Record calldata record, uint40 deadline, bytes calldata ownerSig) external;

    /// @notice Removes a member that is not paid for any more. Anybody may call, and gets a tenth of the stake for it.
    /// @dev The owner that is late may extend or exit until somebody does this.
    function expire(Record calldata record) external;

    /// @notice Gives stake and rest back to the owner, from `withdrawableAt` on. Anybody may call.
    function withdraw(Record calldata record) external;

    // ------------------------------------------------------------------------------------------------------------
    // Slash
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Announces a slash without saying of whom. The first commit of a hash stands; more of them change nothing.
    /// @param slashHash `hashSlash(secret, receiver, salt)`; the salt is random, since others may know the secret, too.
    function commitSlash(bytes32 slashHash) external;

    /// @notice Ends a membership with its secret, whether it is in the tree or has left, until it is withdrawn. Pays
    /// `receiver` a fifth of the stake, less what `expire` has paid; burns the rest, and the fee for the time to come.
    /// @dev Anybody may call, from 2 to 256 blocks after the commit: who copies the call pays the same receiver. Who delays
    /// it for two blocks, as the proposer of all of them, can win the race for the fifth, but not stop the slash.
    /// @param receiver Is credited if the token refuses to pay it.
    function slash(uint256 secret, address receiver, bytes32 salt, Record calldata record) external;

    /// @notice Burns what the token refused to burn before. Anybody may call.
    function sweep() external;

    // ------------------------------------------------------------------------------------------------------------
    // Views
    // ------------------------------------------------------------------------------------------------------------

    /// @notice What has changed since registration; all zero if it never registered.
    function member(uint256 idCommitment) external view returns (Member memory);

    /// @notice What the fee stream holds for the home node and for burning now. Reverts if it is no member's record.
    function collectable(Record calldata record) external view returns (uint256 paid, uint256 burned);

    /// @notice Until when a membership is paid for; from then on it can be expired.
    function paidUntil(Record calldata record) external view returns (uint256);

    /// @notice When it can be withdrawn: a window after it left, and when the period in which it left is over.
    function withdrawableAt(Record calldata record) external view returns (uint256);

    /// @notice What registering costs: what can come back, and what will not.
    function cost(uint16 rate, uint32 periods) external view returns (uint256 stake, uint256 fee);

    /// @notice What the contract keeps of a record.
    function hashRecord(Record calldata record) external pure returns (bytes32);

    /// @notice The EIP-712 struct hash of a registration; the nonce of the authorization that pays for it.
    function hashRegistration(Registration calldata registration) external pure returns (bytes32);

    /// @notice The EIP-712 struct hash of an extension; the nonce of the authorization that pays for it.
    function hashExtension(Extension calldata action) external pure returns (bytes32);

    /// @notice What `commitSlash` takes: keccak256(abi.encode(secret, receiver, salt)).
    function hashSlash(uint256 secret, address receiver, bytes32 salt) external pure returns (bytes32);

    /// @notice The block of the first commit of a hash; 0 if there is none.
    function committedAt(bytes32 slashHash) external view returns (uint256);

    /// @notice All stake, and all fees that have not streamed or were not collected. Credits come on top.
    function total() external view returns (uint256);

    /// @notice Leaves that were ever used; later ones are zero. Leaves are used again when all have been used.
    function leaves() external view returns (uint256);

    /// @notice The token.
    function token() external view returns (address);

    /// @notice Levels of the tree below its root: it has 2^depth leaves.
    function depth() external view returns (uint8);

    /// @notice Seconds of a period.
    function period() external view returns (uint40);

    /// @notice Seconds for which a member that has left can be slashed. Nodes accept roots for less than that.
    function window() external view returns (uint40);

    /// @notice Stake for each message in an epoch.
    function stakePerRate() external view returns (uint96);

    /// @notice Fee for each message in an epoch, for a period.
    function feePerRate() external view returns (uint96);

    /// @notice A deployed `PoseidonT2`, made by this contract's constructor.
    function poseidon() external view returns (address);

    /// @notice Most members in one `collect`.
    function MAX_COLLECTS() external view returns (uint256);

    /// @notice Where burned tokens go.
    function BURN_ADDRESS() external view returns (address);
}
