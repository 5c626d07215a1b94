// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {PoseidonT2} from "poseidon-solidity/PoseidonT2.sol";

import {IPoseidon} from "../interfaces/IPoseidon.sol";
import {IRlnMembership} from "../interfaces/IRlnMembership.sol";
import {Deposits} from "../libraries/Deposits.sol";
import {Members} from "./Members.sol";

/// @title RlnMembership
/// @dev Who may do what, and the slash. What it does to a member and its money is in Members.
contract RlnMembership is Members {
    bytes32 private constant REGISTRATION_TYPEHASH = keccak256(
        "Registration(address payer,uint256 idCommitment,uint16 rate,address homeNode,uint32 periods,uint40 deadline)"
    );
    bytes32 private constant EXTENSION_TYPEHASH =
        keccak256("Extension(address payer,uint256 idCommitment,uint32 periods,bytes32 salt,uint40 deadline)");
    bytes32 private constant EXIT_TYPEHASH = keccak256("Exit(uint256 idCommitment,uint40 deadline)");

    /// @dev Blocks from commit to reveal.
    uint256 private constant MIN_REVEAL = 2;
    uint256 private constant MAX_REVEAL = 256;

    /// @inheritdoc IRlnMembership
    uint256 public constant MAX_COLLECTS = 500;

    /// @inheritdoc IRlnMembership
    address public immutable poseidon;

    /// @inheritdoc IRlnMembership
    mapping(bytes32 slashHash => uint256) public committedAt;

    constructor(address token_, uint8 depth_, uint40 period_, uint40 window_, uint96 stakePerRate_, uint96 feePerRate_)
        EIP712("Waypost RlnMembership", "1")
        Members(token_, depth_, period_, window_, stakePerRate_, feePerRate_)
    {
        // The library cannot be inlined: it reads its argument where only a call of its own puts it. A contract made
        // here needs no linking, and has the same address wherever this one has. Without the gas to make it there is
        // none to store this one either.
        bytes memory code = type(PoseidonT2).creationCode;
        address made;
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        poseidon = made;
    }

    // ------------------------------------------------------------------------------------------------------------
    // Register and extend
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc IRlnMembership
    function register(uint256 idCommitment, uint16 rate, address homeNode, uint32 periods) external nonReentrant {
        uint96 amount = _join(msg.sender, idCommitment, rate, homeNode, periods);
        Deposits.pull(token, msg.sender, amount);
    }

    /// @inheritdoc IRlnMembership
    function registerFor(Registration calldata registration, bytes calldata payerSig, Deposits.Permit calldata permit)
        external
        nonReentrant
    {
        _authorize(registration.payer, hashRegistration(registration), registration.deadline, payerSig);
        Deposits.pullWithPermit(token, registration.payer, _register(registration), permit);
    }

    /// @inheritdoc IRlnMembership
    function registerWithAuthorization(
        Registration calldata registration,
        Deposits.Authorization calldata authorization
    ) external nonReentrant {
        _requireBy(registration.deadline);
        Deposits.pullWithAuthorization(
            token, registration.payer, _register(registration), hashRegistration(registration), authorization
        );
    }

    /// @inheritdoc IRlnMembership
    function extend(Record calldata record, uint32 periods) external nonReentrant {
        Deposits.pull(token, msg.sender, _extend(record, msg.sender, periods));
    }

    /// @inheritdoc IRlnMembership
    function extendFor(
        Extension calldata action,
        Record calldata record,
        bytes calldata payerSig,
        Deposits.Permit calldata permit
    ) external nonReentrant {
        _authorizeOnce(action.payer, hashExtension(action), action.deadline, payerSig);
        Deposits.pullWithPermit(token, action.payer, _extend(action, record), permit);
    }

    /// @inheritdoc IRlnMembership
    function extendWithAuthorization(
        Extension calldata action,
        Record calldata record,
        Deposits.Authorization calldata authorization
    ) external nonReentrant {
        _requireBy(action.deadline);
        bytes32 structHash = hashExtension(action);
        _useOnce(_hashTypedDataV4(structHash)); // the payer may have signed the other form of the same action, too
        Deposits.pullWithAuthorization(token, action.payer, _extend(action, record), structHash, authorization);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Fees
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc IRlnMembership
    function collect(address homeNode, Record[] calldata records) external nonReentrant returns (uint256 paid) {
        if (records.length > MAX_COLLECTS) revert BatchTooLarge(records.length, MAX_COLLECTS);
        uint256[] memory found = new uint256[](records.length);
        uint256 count;
        uint256 burned;
        for (uint256 i; i < records.length; ++i) {
            (uint256 share, uint256 burn) = _collect(homeNode, records[i]);
            if (share + burn == 0) continue;
            paid += share;
            burned += burn;
            found[count++] = records[i].idCommitment;
        }
        assembly ("memory-safe") {
            mstore(found, count) // forget the room for members that were skipped
        }
        _give(paid + burned);
        _payFees(homeNode, paid, burned, found);
        _pay(token, BURN_ADDRESS, burned);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Leave
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc IRlnMembership
    function exit(Record calldata record) external nonReentrant {
        if (msg.sender != record.owner) revert NotOwner(msg.sender, record.owner);
        _exit(record);
    }

    /// @inheritdoc IRlnMembership
    function exitFor(Record calldata record, uint40 deadline, bytes calldata ownerSig) external nonReentrant {
        bytes32 structHash = keccak256(abi.encode(EXIT_TYPEHASH, record.idCommitment, deadline));
        _authorize(record.owner, structHash, deadline, ownerSig);
        _exit(record);
    }

    /// @inheritdoc IRlnMembership
    function expire(Record calldata record) external nonReentrant {
        (uint256 reward, uint256 withdrawable) = _expire(record);
        emit Expired(record.idCommitment, msg.sender, record.index, reward, withdrawable);
        _pay(token, msg.sender, reward);
    }

    /// @inheritdoc IRlnMembership
    function withdraw(Record calldata record) external nonReentrant {
        (uint256 rest, uint256 paid, uint256 burned) = _withdraw(record);
        emit Withdrawn(record.idCommitment, record.owner, record.index, rest);
        _pay(token, record.owner, rest);
        _pay(token, BURN_ADDRESS, burned);
        _payFees(record, paid, burned);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Slash
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc IRlnMembership
    function commitSlash(bytes32 slashHash) external nonReentrant {
        if (committedAt[slashHash] != 0) return;
        committedAt[slashHash] = block.number;
        emit SlashCommitted(slashHash);
    }

    /// @inheritdoc IRlnMembership
    function slash(uint256 secret, address receiver, bytes32 salt, Record calldata record) external nonReentrant {
        _requireReceiver(token, receiver);
        _reveal(hashSlash(secret, receiver, salt));
        if (secret >= FIELD) revert InvalidSecret(secret);
        uint256 idCommitment = IPoseidon(poseidon).hash([secret]);
        if (idCommitment != record.idCommitment) revert WrongSecret(idCommitment, record.idCommitment);
        (uint256 reward, uint256 forfeit, uint256 paid, uint256 burned) = _slash(record); // R3
        emit Slashed(idCommitment, receiver, record.index, secret, reward, forfeit);
        _pay(token, receiver, reward);
        _pay(token, BURN_ADDRESS, forfeit + burned);
        _payFees(record, paid, burned); // last, so that a hostile home node spends gas that nobody needs any more
    }

    /// @inheritdoc IRlnMembership
    function sweep() external nonReentrant {
        _withdrawCredit(BURN_ADDRESS, token, BURN_ADDRESS);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Hashes
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc IRlnMembership
    function hashRegistration(Registration calldata registration) public pure returns (bytes32) {
        return keccak256(abi.encode(REGISTRATION_TYPEHASH, registration));
    }

    /// @inheritdoc IRlnMembership
    function hashExtension(Extension calldata action) public pure returns (bytes32) {
        return keccak256(abi.encode(EXTENSION_TYPEHASH, action));
    }

    /// @inheritdoc IRlnMembership
    function hashSlash(uint256 secret, address receiver, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(secret, receiver, salt));
    }

    // ------------------------------------------------------------------------------------------------------------
    // Steps
    // ------------------------------------------------------------------------------------------------------------

    function _register(Registration calldata registration) private returns (uint96) {
        return _join(
            registration.payer,
            registration.idCommitment,
            registration.rate,
            registration.homeNode,
            registration.periods
        );
    }

    function _extend(Extension calldata action, Record calldata record) private returns (uint96) {
        if (action.idCommitment != record.idCommitment) revert WrongRecord(record.idCommitment);
        return _extend(record, action.payer, action.periods);
    }

    function _exit(Record calldata record) private {
        uint256 withdrawable = _leave(record);
        emit Exited(record.idCommitment, record.index, withdrawable);
    }

    function _reveal(bytes32 slashHash) private {
        uint256 committed = committedAt[slashHash];
        if (committed == 0) revert NotCommitted(slashHash);
        uint256 first = committed + MIN_REVEAL;
        uint256 last = committed + MAX_REVEAL;
        if (block.number < first || block.number > last) revert RevealOutOfRange(block.number, first, last);
        delete committedAt[slashHash];
    }

    function _payFees(Record calldata record, uint256 paid, uint256 burned) private {
        if (paid + burned == 0) return;
        uint256[] memory ids = new uint256[](1);
        ids[0] = record.idCommitment;
        _payFees(record.homeNode, paid, burned, ids);
    }

    function _payFees(address homeNode, uint256 paid, uint256 burned, uint256[] memory ids) private {
        emit Collected(homeNode, paid, burned, ids);
        _pay(token, homeNode, paid);
    }
}
