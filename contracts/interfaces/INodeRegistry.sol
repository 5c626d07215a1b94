// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ICredits} from "./ICredits.sol";

/// @title Registry of service nodes and their stake
/// @notice Operators say what they serve and where, name the key that signs for their node, and put up stake that
/// leaves only after an unbonding time. They choose which service contract may slash how much of it.
/// @dev An operator is whoever calls `register`: it may stay a cold key or be a contract, since the hot node key is
/// another. Amounts are in base units of one token, times are Unix seconds. What an operator publishes (services,
/// endpoint, payout) is its own word: nobody checks it here. Nobody administers this contract.
///
/// All stake of an operator is in disjoint *provisions*, each for one *slasher*, the zero address standing for stake
/// that is assigned to nobody. A slasher can take what is in its own provision and nothing else, and it is trusted with
/// all of that: an operator chooses slashers as it chooses code to run.
interface INodeRegistry is ICredits {
    // ------------------------------------------------------------------------------------------------------------
    // Structs
    // ------------------------------------------------------------------------------------------------------------

    /// @notice A registered node.
    /// @param operator The account that registered it and owns its stake.
    /// @param nodeKey The hot key that signs for the node now.
    /// @param payout Whom clients pay.
    /// @param services Bit map of what it serves.
    /// @param registeredAt When it was registered.
    /// @param stake What backs the node: all provisions, assigned or not, without what is thawing.
    /// @param thawing What is on its way out of any provision.
    /// @param metadataHash Hash of a description kept elsewhere; the operator says of what kind.
    /// @param endpoint Where clients reach it, a URL.
    struct Node {
        address operator;
        address nodeKey;
        address payout;
        uint32 services;
        uint40 registeredAt;
        uint96 stake;
        uint96 thawing;
        bytes32 metadataHash;
        string endpoint;
    }

    /// @notice The part of an operator's stake that one slasher can take.
    /// @param amount What backs the operator's promises.
    /// @param thawing What backs nothing new, but can be slashed until it is withdrawn.
    /// @param thawedAt When `thawing` can be withdrawn; 0 if nothing is thawing.
    /// @param locked What the slasher has set aside of both for open obligations.
    struct Provision {
        uint96 amount;
        uint96 thawing;
        uint40 thawedAt;
        uint96 locked;
    }

    // ------------------------------------------------------------------------------------------------------------
    // Events
    // ------------------------------------------------------------------------------------------------------------

    /// @notice A node was registered.
    event Registered(
        address indexed operator,
        address indexed nodeKey,
        uint32 services,
        address payout,
        string endpoint,
        bytes32 metadataHash
    );

    /// @notice An operator changed what it publishes.
    event Updated(address indexed operator, uint32 services, address payout, string endpoint, bytes32 metadataHash);

    /// @notice `nodeKey` signs for the node from now on, `previous` does not any more.
    event KeyRotated(address indexed operator, address indexed nodeKey, address indexed previous);

    /// @notice `amount` was added to what is assigned to nobody, which makes `stake` in all.
    event Staked(address indexed operator, uint96 amount, uint96 stake);

    /// @notice `amount` was assigned to `slasher`, which makes `provision` for it.
    event Provisioned(address indexed operator, address indexed slasher, uint96 amount, uint96 provision);

    /// @notice `amount` stopped backing anything; all that thaws in this provision can be withdrawn at `thawedAt`.
    event Thawing(address indexed operator, address indexed slasher, uint96 amount, uint40 thawedAt);

    /// @notice `amount`, all that was thawing in this provision, backs again.
    event ThawCancelled(address indexed operator, address indexed slasher, uint96 amount);

    /// @notice `amount` left.
    event Withdrawn(address indexed operator, address indexed slasher, address to, uint96 amount);

    /// @notice The slasher set `amount` aside, which makes `locked` in all.
    event Locked(address indexed operator, address indexed slasher, uint96 amount, uint96 locked);

    /// @notice The slasher released `amount`, which leaves `locked`.
    event Unlocked(address indexed operator, address indexed slasher, uint96 amount, uint96 locked);

    /// @notice The operator lost 2 × `amount`: `beneficiary` was paid `amount`, and as much was burned.
    event Slashed(address indexed operator, address indexed slasher, address indexed beneficiary, uint96 amount);

    // ------------------------------------------------------------------------------------------------------------
    // Errors
    // ------------------------------------------------------------------------------------------------------------

    /// @notice An operator registers once.
    error AlreadyRegistered(address operator);
    /// @notice Only registered operators may do this.
    error NotRegistered(address operator);
    /// @notice A node key is used once, ever, whoever used it.
    error NodeKeyUsed(address nodeKey);
    /// @notice A node serves something.
    error NoServices();
    /// @notice Clients must be able to pay somebody.
    error InvalidPayout(address payout);
    /// @notice The endpoint's length, in bytes, is outside of what fits.
    error EndpointLengthOutOfRange(uint256 given, uint256 min, uint256 max);
    /// @notice The endpoint holds something else than visible ASCII (0x21 to 0x7e), which is all that a URL is made of.
    error InvalidEndpoint(uint256 position, bytes1 character);
    /// @notice Stake cannot be assigned to nobody, or to this contract.
    error InvalidSlasher(address slasher);
    /// @notice The amount must be positive.
    error ZeroAmount();
    /// @notice The amount is beyond what fits, or what there is.
    error AmountOutOfRange(uint256 given, uint256 max);
    /// @notice Nothing is thawing in this provision.
    error NothingThawing(address operator, address slasher);
    /// @notice The unbonding time is not over.
    error TooEarly(uint256 timestamp, uint256 thawedAt);
    /// @notice All that has thawed is locked by the slasher, at the longest until this time.
    error StakeLocked(uint256 amount, uint256 until);
    /// @notice An unbonding time, in seconds, that would not let operators leave in bounded time.
    error UnbondingTooLong(uint256 given, uint256 max);

    // ------------------------------------------------------------------------------------------------------------
    // Register
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Registers the caller as the operator of a node.
    /// @param services Bit map, not zero; unknown bits are kept, for services to come.
    /// @param nodeKey The hot key of the node, never used before.
    /// @param payout Whom clients pay.
    /// @param endpoint URL of 1 to 256 bytes.
    /// @param metadataHash May be zero.
    /// @param keySig `nodeKey`'s signature (65 bytes) of `NodeKey(address operator,address nodeKey)` in the domain
    /// ("Waypost NodeRegistry", "1", chainId, this contract): nobody can register another's key.
    function register(
        uint32 services,
        address nodeKey,
        address payout,
        string calldata endpoint,
        bytes32 metadataHash,
        bytes calldata keySig
    ) external;

    /// @notice Replaces what the caller publishes about its node.
    function update(uint32 services, address payout, string calldata endpoint, bytes32 metadataHash) external;

    /// @notice Makes `nodeKey` the key of the caller's node. The period of the key before ends now, that of the new one
    /// begins: what a key signed counts if the time that it names lies in the key's period.
    /// @dev A thief with the old key can still sign with a time of its period: rotating stops new promises, and those
    /// that it backdates end when the longest promise of that period would have ended.
    /// @param keySig As in `register`.
    function rotateKey(address nodeKey, bytes calldata keySig) external;

    // ------------------------------------------------------------------------------------------------------------
    // Stake
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Adds the caller's approved tokens to its stake, assigned to nobody.
    function stake(uint96 amount) external;

    /// @notice Assigns `amount`, of what is assigned to nobody, to `slasher`: from now on it can slash it.
    function provision(address slasher, uint96 amount) external;

    /// @notice Starts to take `amount` out of a provision. It stops backing anything at once, and can be slashed until
    /// it is withdrawn. It and all that was thawing in this provision before can be withdrawn after the unbonding time,
    /// counted from now.
    /// @param slasher Whose provision; zero for what is assigned to nobody.
    function thaw(address slasher, uint96 amount) external;

    /// @notice Makes all that is thawing in a provision back promises again.
    function cancelThaw(address slasher) external;

    /// @notice Sends what has thawed in a provision to `to`. What the slasher has locked stays, at the longest for
    /// another unbonding time after `thawedAt`.
    function withdraw(address slasher, address to) external;

    // ------------------------------------------------------------------------------------------------------------
    // Slashers: each for the operator's provision that names the caller
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Sets `amount` aside for an obligation: it cannot be withdrawn, slashed or locked again until it is
    /// unlocked.
    /// @dev Stake that has thawed already cannot be locked any more, so a lock holds for at least one unbonding time;
    /// it holds at most one unbonding time after its stake has thawed (N5), whatever the slasher does.
    function lock(address operator, uint96 amount) external;

    /// @notice Releases `amount` of what is locked; all of it, if that is less.
    function unlock(address operator, uint96 amount) external;

    /// @notice Takes 2 × `amount` out of what is not locked: pays `beneficiary` one half and burns the other, so that
    /// inventing victims never pays. What is thawing goes first.
    /// @dev A slasher that has locked stake for this obligation unlocks it before. It never takes part of what it was
    /// asked for: a slasher that wants what there is asks `provisionOf` before.
    /// @param beneficiary Is credited if the token refuses to pay it.
    function slash(address operator, uint96 amount, address beneficiary) external;

    /// @notice Burns what the token refused to burn before. Anybody may call.
    function sweep() external;

    // ------------------------------------------------------------------------------------------------------------
    // Views
    // ------------------------------------------------------------------------------------------------------------

    /// @notice The node of an operator; all zero if it never registered.
    function node(address operator) external view returns (Node memory);

    /// @notice Nodes that serve all of `services` and have at least the minimum stake, in order of registration.
    /// @param services Bit map; 0 matches every node.
    /// @param cursor 0 to begin, then the `next` of the page before.
    /// @param limit How many registrations to look at, so that a call's cost is bounded whoever registers: a page can
    /// hold fewer nodes, even none, and still not be the last.
    /// @return page The nodes found.
    /// @return next Where to go on; 0 at the end.
    function nodes(uint32 services, uint256 cursor, uint256 limit)
        external
        view
        returns (Node[] memory page, uint256 next);

    /// @notice One provision of an operator.
    function provisionOf(address operator, address slasher) external view returns (Provision memory);

    /// @notice All provisions of an operator: what is assigned to nobody first (the zero address), then those of every
    /// slasher that it ever named.
    function provisions(address operator)
        external
        view
        returns (address[] memory slashers, Provision[] memory provisions);

    /// @notice Whose key this is, and when it is valid: in [from, until), where `until` is 2^40 − 1 for a current key.
    /// All zero if nobody ever used it.
    function keyPeriod(address nodeKey) external view returns (address operator, uint40 from, uint40 until);

    /// @notice How many operators ever registered.
    function count() external view returns (uint256);

    /// @notice All stake, thawing or not, that this contract holds for operators. Credits come on top.
    function total() external view returns (uint256);

    /// @notice The stake token.
    function token() external view returns (address);

    /// @notice Stake that a node needs to be listed.
    function minStake() external view returns (uint96);

    /// @notice Seconds between a thaw and its withdrawal.
    function unbonding() external view returns (uint40);

    /// @notice Where burned stake goes.
    function BURN_ADDRESS() external view returns (address);

    /// @notice Service bit: keeps messages.
    function STORE() external view returns (uint32);

    /// @notice Service bit: passes messages on to subscribers.
    function RELAY() external view returns (uint32);

    /// @notice Service bit: keeps larger data for longer.
    function LEASE() external view returns (uint32);
}
