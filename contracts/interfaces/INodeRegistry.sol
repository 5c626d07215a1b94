// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Registry of service nodes and their stake
/// @notice Operators say what they serve and where, name the key that signs for their node, and put up stake that
/// leaves only after an unbonding time.
/// @dev An operator is whoever calls `register`: it may stay a cold key or be a contract, since the hot node key is
/// another. Amounts are in base units of one token, times are Unix seconds. What an operator publishes (services,
/// endpoint, payout) is its own word: nobody checks it here. Nobody administers this contract.
interface INodeRegistry {
    // ------------------------------------------------------------------------------------------------------------
    // Structs
    // ------------------------------------------------------------------------------------------------------------

    /// @notice A registered node.
    /// @param operator The account that registered it and owns its stake.
    /// @param nodeKey The hot key that signs for the node.
    /// @param payout Whom clients pay.
    /// @param services Bit map of what it serves.
    /// @param registeredAt When it was registered.
    /// @param stake What backs the node.
    /// @param thawing What is on its way out and backs nothing any more.
    /// @param thawedAt When `thawing` can be withdrawn; 0 if nothing is thawing.
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
        uint40 thawedAt;
        bytes32 metadataHash;
        string endpoint;
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

    /// @notice `amount` was added, which makes `stake` in all.
    event Staked(address indexed operator, uint96 amount, uint96 stake);

    /// @notice `amount` stopped being stake; all that is thawing can be withdrawn at `thawedAt`.
    event Thawing(address indexed operator, uint96 amount, uint40 thawedAt);

    /// @notice `amount`, all that was thawing, is stake again.
    event ThawCancelled(address indexed operator, uint96 amount);

    /// @notice `amount`, all that was thawing, left.
    event Withdrawn(address indexed operator, address indexed to, uint96 amount);

    // ------------------------------------------------------------------------------------------------------------
    // Errors
    // ------------------------------------------------------------------------------------------------------------

    /// @notice An operator registers once.
    error AlreadyRegistered(address operator);
    /// @notice Only registered operators may do this.
    error NotRegistered(address operator);
    /// @notice A node key is used once, ever, whoever used it.
    error NodeKeyUsed(address nodeKey);
    /// @notice The signature is not `expected`'s signature of `NodeKey(operator, nodeKey)`.
    error InvalidSignature(address expected);
    /// @notice A node serves something.
    error NoServices();
    /// @notice Clients must be able to pay somebody.
    error InvalidPayout(address payout);
    /// @notice The endpoint's length, in bytes, is outside of what fits.
    error EndpointLengthOutOfRange(uint256 given, uint256 min, uint256 max);
    /// @notice The endpoint holds something else than visible ASCII (0x21 to 0x7e), which is all that a URL is made of.
    error InvalidEndpoint(uint256 position, bytes1 character);
    /// @notice The amount must be positive.
    error ZeroAmount();
    /// @notice The amount is beyond what fits, or what there is.
    error AmountOutOfRange(uint256 given, uint256 max);
    /// @notice Nothing is thawing.
    error NothingThawing(address operator);
    /// @notice The unbonding time is not over.
    error TooEarly(uint256 timestamp, uint256 thawedAt);
    /// @notice An unbonding time, in seconds, that would not let operators leave in bounded time.
    error UnbondingTooLong(uint256 given, uint256 max);
    /// @notice Stake cannot be sent to nobody, the token, or this contract.
    error InvalidReceiver(address to);

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

    // ------------------------------------------------------------------------------------------------------------
    // Stake
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Adds the caller's approved tokens to its stake.
    function stake(uint96 amount) external;

    /// @notice Takes `amount` out of the stake. It and all that was thawing before can be withdrawn after the
    /// unbonding time, counted from now.
    function thaw(uint96 amount) external;

    /// @notice Makes all that is thawing stake again.
    function cancelThaw() external;

    /// @notice Sends all that has thawed to `to`.
    function withdraw(address to) external;

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

    /// @notice Who registered `nodeKey`; zero if nobody did.
    function operatorOf(address nodeKey) external view returns (address);

    /// @notice How many operators ever registered.
    function count() external view returns (uint256);

    /// @notice All stake, thawing or not, that this contract owes.
    function total() external view returns (uint256);

    /// @notice The stake token.
    function token() external view returns (address);

    /// @notice Stake that a node needs to be listed.
    function minStake() external view returns (uint96);

    /// @notice Seconds between a thaw and its withdrawal.
    function unbonding() external view returns (uint40);

    /// @notice Service bit: keeps messages.
    function STORE() external view returns (uint32);

    /// @notice Service bit: passes messages on to subscribers.
    function RELAY() external view returns (uint32);

    /// @notice Service bit: keeps larger data for longer.
    function LEASE() external view returns (uint32);

    /// @notice The EIP-712 domain separator.
    function DOMAIN_SEPARATOR() external view returns (bytes32);
}
