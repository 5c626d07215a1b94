// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {INodeRegistry} from "../interfaces/INodeRegistry.sol";
import {Provisions} from "./Provisions.sol";

/// @title NodeRegistry
/// @dev Who serves what, where, and signs with which key. The stake behind it is in Provisions.
contract NodeRegistry is Provisions {
    struct Record {
        address nodeKey;
        uint32 services;
        uint40 registeredAt;
        address payout;
        bytes32 metadataHash;
        string endpoint;
    }

    /// @dev Valid in [from, until).
    struct Key {
        address operator;
        uint40 from;
        uint40 until;
    }

    bytes32 private constant NODE_KEY_TYPEHASH = keccak256("NodeKey(address operator,address nodeKey)");

    uint256 private constant MAX_ENDPOINT = 256;
    uint40 private constant FOREVER = type(uint40).max;

    /// @inheritdoc INodeRegistry
    uint32 public constant STORE = 1;
    /// @inheritdoc INodeRegistry
    uint32 public constant RELAY = 2;
    /// @inheritdoc INodeRegistry
    uint32 public constant LEASE = 4;

    /// @inheritdoc INodeRegistry
    uint96 public immutable minStake;

    address[] private _operators;
    mapping(address operator => Record) private _records;
    mapping(address nodeKey => Key) private _keys;

    constructor(address token_, uint96 minStake_, uint40 unbonding_)
        EIP712("Waypost NodeRegistry", "1")
        Provisions(token_, unbonding_)
    {
        minStake = minStake_;
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
        _useKey(record, nodeKey, keySig);
        _operators.push(msg.sender);
        record.registeredAt = uint40(block.timestamp);
        _publish(record, services, payout, endpoint, metadataHash);
        emit Registered(msg.sender, nodeKey, services, payout, endpoint, metadataHash);
    }

    /// @inheritdoc INodeRegistry
    function update(uint32 services, address payout, string calldata endpoint, bytes32 metadataHash) external {
        _requireRegistered(msg.sender);
        _publish(_records[msg.sender], services, payout, endpoint, metadataHash);
        emit Updated(msg.sender, services, payout, endpoint, metadataHash);
    }

    /// @inheritdoc INodeRegistry
    function rotateKey(address nodeKey, bytes calldata keySig) external {
        _requireRegistered(msg.sender);
        Record storage record = _records[msg.sender];
        address previous = record.nodeKey;
        _keys[previous].until = uint40(block.timestamp);
        _useKey(record, nodeKey, keySig);
        emit KeyRotated(msg.sender, nodeKey, previous);
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
            stake: _holdings[operator].stake,
            thawing: _holdings[operator].thawing,
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
            address operator = _operators[i];
            if (_holdings[operator].stake < minStake || _records[operator].services & services != services) continue;
            page[found++] = node(operator);
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
    function keyPeriod(address nodeKey) external view returns (address operator, uint40 from, uint40 until) {
        Key storage key = _keys[nodeKey];
        return (key.operator, key.from, key.until);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Records
    // ------------------------------------------------------------------------------------------------------------

    function _requireRegistered(address operator) internal view override {
        if (_records[operator].registeredAt == 0) revert NotRegistered(operator);
    }

    function _useKey(Record storage record, address nodeKey, bytes calldata keySig) private {
        if (_keys[nodeKey].operator != address(0)) revert NodeKeyUsed(nodeKey);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(NODE_KEY_TYPEHASH, msg.sender, nodeKey)));
        (address recovered, ECDSA.RecoverError failure,) = ECDSA.tryRecoverCalldata(digest, keySig);
        if (failure != ECDSA.RecoverError.NoError || recovered != nodeKey) revert InvalidSignature(nodeKey);
        _keys[nodeKey] = Key({operator: msg.sender, from: uint40(block.timestamp), until: FOREVER});
        record.nodeKey = nodeKey;
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
}
