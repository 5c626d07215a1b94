// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {INodeRegistry} from "../interfaces/INodeRegistry.sol";
import {Deposits} from "../libraries/Deposits.sol";

/// @title NodeRegistry
/// @dev Invariants are numbered as in tests/invariants/README.md.
contract NodeRegistry is INodeRegistry, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    struct Record {
        address nodeKey;
        uint96 stake;
        address payout;
        uint32 services;
        uint40 registeredAt;
        uint96 thawing;
        uint40 thawedAt;
        bytes32 metadataHash;
        string endpoint;
    }

    bytes32 private constant NODE_KEY_TYPEHASH = keccak256("NodeKey(address operator,address nodeKey)");

    uint256 private constant MAX_ENDPOINT = 256;
    uint40 private constant MAX_UNBONDING = 365 days;

    /// @inheritdoc INodeRegistry
    uint32 public constant STORE = 1;
    /// @inheritdoc INodeRegistry
    uint32 public constant RELAY = 2;
    /// @inheritdoc INodeRegistry
    uint32 public constant LEASE = 4;

    /// @inheritdoc INodeRegistry
    address public immutable token;
    /// @inheritdoc INodeRegistry
    uint96 public immutable minStake;
    /// @inheritdoc INodeRegistry
    uint40 public immutable unbonding;

    /// @inheritdoc INodeRegistry
    uint256 public total;
    /// @inheritdoc INodeRegistry
    mapping(address nodeKey => address operator) public operatorOf;

    address[] private _operators;
    mapping(address operator => Record) private _records;

    constructor(address token_, uint96 minStake_, uint40 unbonding_) EIP712("Waypost NodeRegistry", "1") {
        if (token_.code.length == 0) revert Deposits.InvalidToken(token_);
        if (unbonding_ > MAX_UNBONDING) revert UnbondingTooLong(unbonding_, MAX_UNBONDING); // N5
        token = token_;
        minStake = minStake_;
        unbonding = unbonding_;
    }

    // ------------------------------------------------------------------------------------------------------------
    // Register
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc INodeRegistry
    function register(
        uint32 services,
        address nodeKey,
        address payout,
        string calldata endpoint,
        bytes32 metadataHash,
        bytes calldata keySig
    ) external {
        Record storage record = _records[msg.sender];
        if (record.registeredAt != 0) revert AlreadyRegistered(msg.sender);
        if (operatorOf[nodeKey] != address(0)) revert NodeKeyUsed(nodeKey);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(NODE_KEY_TYPEHASH, msg.sender, nodeKey)));
        (address recovered, ECDSA.RecoverError failure,) = ECDSA.tryRecoverCalldata(digest, keySig);
        if (failure != ECDSA.RecoverError.NoError || recovered != nodeKey) revert InvalidSignature(nodeKey);

        operatorOf[nodeKey] = msg.sender;
        _operators.push(msg.sender);
        record.nodeKey = nodeKey;
        record.registeredAt = uint40(block.timestamp);
        _publish(record, services, payout, endpoint, metadataHash);
        emit Registered(msg.sender, nodeKey, services, payout, endpoint, metadataHash);
    }

    /// @inheritdoc INodeRegistry
    function update(uint32 services, address payout, string calldata endpoint, bytes32 metadataHash) external {
        _publish(_registered(), services, payout, endpoint, metadataHash);
        emit Updated(msg.sender, services, payout, endpoint, metadataHash);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Stake
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc INodeRegistry
    function stake(uint96 amount) external nonReentrant {
        Record storage record = _registered();
        if (amount == 0) revert ZeroAmount();
        // Bounds stake and thawing together, so that moving between the two never overflows either.
        uint256 max = type(uint96).max - uint256(record.stake) - record.thawing;
        if (amount > max) revert AmountOutOfRange(amount, max);
        record.stake += amount;
        total += amount; // N1
        emit Staked(msg.sender, amount, record.stake);
        Deposits.pull(token, msg.sender, amount);
    }

    /// @inheritdoc INodeRegistry
    function thaw(uint96 amount) external {
        Record storage record = _registered();
        if (amount == 0) revert ZeroAmount();
        if (amount > record.stake) revert AmountOutOfRange(amount, record.stake);
        record.stake -= amount;
        record.thawing += amount;
        // N5: only the operator itself can put off its exit.
        record.thawedAt = uint40(block.timestamp) + unbonding;
        emit Thawing(msg.sender, amount, record.thawedAt);
    }

    /// @inheritdoc INodeRegistry
    function cancelThaw() external {
        Record storage record = _records[msg.sender];
        uint96 amount = _takeThawing(record);
        record.stake += amount;
        emit ThawCancelled(msg.sender, amount);
    }

    /// @inheritdoc INodeRegistry
    function withdraw(address to) external nonReentrant {
        if (to == address(0) || to == token || to == address(this)) revert InvalidReceiver(to);
        Record storage record = _records[msg.sender];
        if (block.timestamp < record.thawedAt) revert TooEarly(block.timestamp, record.thawedAt);
        uint96 amount = _takeThawing(record);
        total -= amount; // N1
        emit Withdrawn(msg.sender, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Views
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc INodeRegistry
    function node(address operator) public view returns (Node memory) {
        Record storage record = _records[operator];
        return Node({
            operator: record.registeredAt == 0 ? address(0) : operator,
            nodeKey: record.nodeKey,
            payout: record.payout,
            services: record.services,
            registeredAt: record.registeredAt,
            stake: record.stake,
            thawing: record.thawing,
            thawedAt: record.thawedAt,
            metadataHash: record.metadataHash,
            endpoint: record.endpoint
        });
    }

    /// @inheritdoc INodeRegistry
    function nodes(uint32 services, uint256 cursor, uint256 limit)
        external
        view
        returns (Node[] memory page, uint256 next)
    {
        uint256 length = _operators.length;
        if (cursor >= length) return (page, 0);
        uint256 end = limit < length - cursor ? cursor + limit : length;
        page = new Node[](end - cursor);
        uint256 found;
        for (uint256 i = cursor; i < end; ++i) {
            Record storage record = _records[_operators[i]];
            if (record.stake < minStake || record.services & services != services) continue;
            page[found++] = node(_operators[i]);
        }
        assembly ("memory-safe") {
            mstore(page, found) // forget the room for nodes that did not match
        }
        next = end == length ? 0 : end;
    }

    /// @inheritdoc INodeRegistry
    function count() external view returns (uint256) {
        return _operators.length;
    }

    /// @inheritdoc INodeRegistry
    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    // ------------------------------------------------------------------------------------------------------------
    // Records
    // ------------------------------------------------------------------------------------------------------------

    function _registered() private view returns (Record storage record) {
        record = _records[msg.sender];
        if (record.registeredAt == 0) revert NotRegistered(msg.sender);
    }

    function _publish(
        Record storage record,
        uint32 services,
        address payout,
        string calldata endpoint,
        bytes32 metadataHash
    ) private {
        if (services == 0) revert NoServices();
        if (payout == address(0)) revert InvalidPayout(payout);
        uint256 length = bytes(endpoint).length;
        if (length == 0 || length > MAX_ENDPOINT) revert EndpointLengthOutOfRange(length, 1, MAX_ENDPOINT);
        for (uint256 i; i < length; ++i) {
            // A URL is visible ASCII; other bytes could break whoever decodes the whole page of nodes.
            bytes1 character = bytes(endpoint)[i];
            if (character < 0x21 || character > 0x7e) revert InvalidEndpoint(i, character);
        }
        record.services = services;
        record.payout = payout;
        record.endpoint = endpoint;
        record.metadataHash = metadataHash;
    }

    function _takeThawing(Record storage record) private returns (uint96 amount) {
        amount = record.thawing;
        if (amount == 0) revert NothingThawing(msg.sender);
        record.thawing = 0;
        record.thawedAt = 0;
    }
}
