// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IRlnMembership} from "../interfaces/IRlnMembership.sol";
import {Deposits} from "../libraries/Deposits.sol";
import {Credits} from "../payments/Credits.sol";

/// @title Members, their stake, and the fees that stream from them
/// @dev What a member's money is at any time follows from its record, its progress and the clock. Invariants are
/// numbered as in tests/invariants/README.md.
abstract contract Members is IRlnMembership, Credits {
    /// @dev One slot, zero until something happens: registration does not write it.
    struct Progress {
        uint32 added;
        uint40 collectedAt;
        uint40 leftAt;
        bool expired;
    }

    /// @dev One slot. `free` counts the leaves of members that were withdrawn.
    struct Tree {
        uint128 total;
        uint32 leaves;
        uint32 free;
    }

    uint256 private constant MAX_DEPTH = 31;
    uint256 private constant MAX_SECONDS = 365 days;
    bytes32 private constant ENDED = bytes32(uint256(1));

    /// @dev The order of BN254's scalar field.
    uint256 internal constant FIELD = 21888242871839275222246405745257275088548364400416034343698204186575808495617;

    /// @inheritdoc IRlnMembership
    address public constant BURN_ADDRESS = 0x000000000000000000000000000000000000dEaD;

    /// @inheritdoc IRlnMembership
    address public immutable token;
    /// @inheritdoc IRlnMembership
    uint8 public immutable depth;
    /// @inheritdoc IRlnMembership
    uint40 public immutable period;
    /// @inheritdoc IRlnMembership
    uint40 public immutable window;
    /// @inheritdoc IRlnMembership
    uint96 public immutable stakePerRate;
    /// @inheritdoc IRlnMembership
    uint96 public immutable feePerRate;

    Tree private _tree;
    mapping(uint256 position => uint32 index) private _free;
    mapping(uint256 idCommitment => bytes32) private _records;
    mapping(uint256 idCommitment => Progress) private _progress;

    constructor(
        address token_,
        uint8 depth_,
        uint40 period_,
        uint40 window_,
        uint96 stakePerRate_,
        uint96 feePerRate_
    ) {
        if (token_.code.length == 0) revert Deposits.InvalidToken(token_);
        _requireWithin(depth_, 1, MAX_DEPTH);
        _requireWithin(period_, 1, MAX_SECONDS);
        _requireWithin(window_, 1, MAX_SECONDS);
        _requireWithin(stakePerRate_, 1, type(uint96).max);
        token = token_;
        depth = depth_;
        period = period_;
        window = window_;
        stakePerRate = stakePerRate_;
        feePerRate = feePerRate_;
    }

    // ------------------------------------------------------------------------------------------------------------
    // Views
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc IRlnMembership
    function member(uint256 idCommitment) external view returns (Member memory) {
        Progress memory progress = _progress[idCommitment];
        return Member({
            recordHash: _records[idCommitment],
            added: progress.added,
            collectedAt: progress.collectedAt,
            leftAt: progress.leftAt,
            expired: progress.expired
        });
    }

    /// @inheritdoc IRlnMembership
    function collectable(Record calldata record) external view returns (uint256 paid, uint256 burned) {
        _requireMember(record);
        (paid, burned,) = _streamed(record, _progress[record.idCommitment]);
    }

    /// @inheritdoc IRlnMembership
    function paidUntil(Record calldata record) external view returns (uint256) {
        _requireMember(record);
        return _paidUntil(record, _progress[record.idCommitment]);
    }

    /// @inheritdoc IRlnMembership
    function withdrawableAt(Record calldata record) external view returns (uint256) {
        _requireMember(record);
        Progress memory progress = _progress[record.idCommitment];
        if (progress.leftAt == 0) revert NotLeft(record.idCommitment);
        return _withdrawableAt(record, progress);
    }

    /// @inheritdoc IRlnMembership
    function cost(uint16 rate, uint32 periods) public view returns (uint256 stake, uint256 fee) {
        return (uint256(stakePerRate) * rate, uint256(feePerRate) * rate * periods);
    }

    /// @inheritdoc IRlnMembership
    function hashRecord(Record calldata record) public pure returns (bytes32) {
        return keccak256(abi.encode(record));
    }

    /// @inheritdoc IRlnMembership
    function total() external view returns (uint256) {
        return _tree.total;
    }

    /// @inheritdoc IRlnMembership
    function leaves() external view returns (uint256) {
        return _tree.leaves;
    }

    // ------------------------------------------------------------------------------------------------------------
    // From registration to the end
    // ------------------------------------------------------------------------------------------------------------

    /// @dev Returns what it costs.
    function _join(address owner, uint256 idCommitment, uint16 rate, address homeNode, uint32 periods)
        internal
        returns (uint96 amount)
    {
        if (idCommitment == 0 || idCommitment >= FIELD) revert InvalidCommitment(idCommitment);
        if (_records[idCommitment] != 0) revert AlreadyRegistered(idCommitment); // R3
        if (rate == 0) revert ZeroRate();
        if (periods == 0) revert PeriodsOutOfRange(0, 1, type(uint32).max);
        _requireReceiver(token, homeNode);
        (uint256 stake, uint256 fee) = cost(rate, periods);
        amount = _toAmount(stake + fee);
        Record memory record = Record({
            idCommitment: idCommitment,
            owner: owner,
            homeNode: homeNode,
            index: _takeLeaf(amount),
            rate: rate,
            start: uint40(block.timestamp),
            periods: periods
        });
        _records[idCommitment] = keccak256(abi.encode(record));
        emit Registered(idCommitment, owner, homeNode, record.index, rate, record.start, periods);
    }

    /// @dev Returns what it costs.
    function _extend(Record calldata record, address payer, uint32 periods) internal returns (uint96 amount) {
        Progress storage progress = _inTree(record);
        uint32 added = progress.added;
        uint256 room = uint256(type(uint32).max) - record.periods - added;
        if (periods == 0 || periods > room) revert PeriodsOutOfRange(periods, 1, room);
        (, uint256 fee) = cost(record.rate, periods);
        amount = _toAmount(fee);
        progress.added = added + periods;
        _tree.total += amount; // R1
        emit Extended(record.idCommitment, payer, periods, _paidUntil(record, progress));
    }

    /// @dev R4: the leaf is zero from now on. Returns when it can be withdrawn.
    function _leave(Record calldata record) internal returns (uint256) {
        Progress storage progress = _inTree(record);
        progress.leftAt = uint40(block.timestamp);
        return _withdrawableAt(record, progress);
    }

    /// @dev Removes a member that is not paid for. Returns what the caller gets for it, and when it can be withdrawn.
    function _expire(Record calldata record) internal returns (uint256 reward, uint256 withdrawable) {
        Progress storage progress = _inTree(record);
        uint256 until = _paidUntil(record, progress);
        if (block.timestamp < until) revert TooEarly(block.timestamp, until);
        progress.expired = true;
        reward = _expiryReward(record);
        _give(reward);
        withdrawable = _leave(record);
    }

    /// @dev Ends a member that has left. Returns what goes back to its owner, and what has streamed.
    function _withdraw(Record calldata record) internal returns (uint256 rest, uint256 paid, uint256 burned) {
        _requireMember(record);
        Progress memory progress = _progress[record.idCommitment];
        if (progress.leftAt == 0) revert NotLeft(record.idCommitment);
        uint256 until = _withdrawableAt(record, progress);
        if (block.timestamp < until) revert TooEarly(block.timestamp, until);
        (rest, paid, burned) = _end(record, progress);
        rest += _stake(record, progress);
        // R2: the window has passed since the leaf became zero.
        _free[_tree.free++] = record.index;
    }

    /// @dev Ends a member whose secret is known; its leaf is not used again. Returns what the slasher gets, what is burned
    /// of the stake and of the fee to come, and what has streamed.
    function _slash(Record calldata record)
        internal
        returns (uint256 reward, uint256 forfeit, uint256 paid, uint256 burned)
    {
        _requireMember(record);
        Progress memory progress = _progress[record.idCommitment];
        (forfeit, paid, burned) = _end(record, progress);
        (uint256 stake,) = cost(record.rate, 0);
        uint256 lost = stake - stake / 5; // S2: whatever the owner has got back before
        reward = _stake(record, progress) - lost;
        forfeit += lost;
    }

    /// @dev Pays out what has streamed from a member of this home node; nothing from anybody else.
    function _collect(address homeNode, Record calldata record) internal returns (uint256 paid, uint256 burned) {
        if (record.homeNode != homeNode || !_isMember(record)) return (0, 0);
        Progress memory progress = _progress[record.idCommitment];
        uint256 until;
        (paid, burned, until) = _streamed(record, progress);
        if (paid + burned == 0) return (0, 0);
        // forge-lint: disable-next-line(unsafe-typecast)
        _progress[record.idCommitment].collectedAt = uint40(until); // not in the future
    }

    /// @dev R1: so much leaves the contract, or becomes a credit.
    function _give(uint256 amount) internal {
        // forge-lint: disable-next-line(unsafe-typecast)
        _tree.total -= uint128(amount); // never more than a member's own stake and fees
    }

    // ------------------------------------------------------------------------------------------------------------
    // Members
    // ------------------------------------------------------------------------------------------------------------

    function _isMember(Record calldata record) private view returns (bool) {
        return _records[record.idCommitment] == hashRecord(record);
    }

    function _requireMember(Record calldata record) private view {
        if (!_isMember(record)) revert WrongRecord(record.idCommitment);
    }

    function _inTree(Record calldata record) private view returns (Progress storage progress) {
        _requireMember(record);
        progress = _progress[record.idCommitment];
        if (progress.leftAt != 0) revert AlreadyLeft(record.idCommitment, progress.leftAt);
    }

    /// @dev R2: leaves are used again when there are no others, and after a window in which they were zero.
    function _takeLeaf(uint96 amount) private returns (uint32 index) {
        Tree memory tree = _tree;
        if (tree.leaves < uint256(1) << depth) {
            index = tree.leaves++;
        } else {
            if (tree.free == 0) revert TreeFull(tree.leaves);
            index = _free[--tree.free];
        }
        tree.total += amount; // R1
        _tree = tree;
    }

    /// @dev R3: it ends once, and never registers again. Returns what of the fee will not stream, and what has streamed.
    function _end(Record calldata record, Progress memory progress)
        private
        returns (uint256 unstreamed, uint256 paid, uint256 burned)
    {
        _records[record.idCommitment] = ENDED;
        delete _progress[record.idCommitment];
        uint256 until;
        (paid, burned, until) = _streamed(record, progress);
        unstreamed = _gross(record, _paidUntil(record, progress)) - _gross(record, until);
        _give(_stake(record, progress) + unstreamed + paid + burned);
    }

    function _stake(Record calldata record, Progress memory progress) private view returns (uint256 stake) {
        (stake,) = cost(record.rate, 0);
        if (progress.expired) stake -= _expiryReward(record);
    }

    function _expiryReward(Record calldata record) private view returns (uint256) {
        (uint256 stake,) = cost(record.rate, 0);
        return stake / 10;
    }

    // ------------------------------------------------------------------------------------------------------------
    // Fee streams
    // ------------------------------------------------------------------------------------------------------------

    /// @dev R5: what has streamed since it was collected last, and until when. Each part is the difference of two totals
    /// that depend on the time alone, so rounding never adds up.
    function _streamed(Record calldata record, Progress memory progress)
        private
        view
        returns (uint256 paid, uint256 burned, uint256 until)
    {
        until = _streamEnd(record, progress);
        if (block.timestamp < until) until = block.timestamp;
        uint256 before = progress.collectedAt == 0 ? 0 : _gross(record, progress.collectedAt);
        uint256 gross = _gross(record, until);
        paid = gross * 4 / 5 - before * 4 / 5;
        burned = gross - before - paid;
    }

    /// @dev All that has streamed from registration to a time: exact at the end of each period, else rounded down.
    function _gross(Record calldata record, uint256 until) private view returns (uint256) {
        return uint256(feePerRate) * record.rate * (until - record.start) / period;
    }

    function _paidUntil(Record calldata record, Progress memory progress) internal view returns (uint256) {
        return record.start + (uint256(record.periods) + progress.added) * period;
    }

    /// @dev A stream ends when it is not paid for, or with the period in which the member left.
    function _streamEnd(Record calldata record, Progress memory progress) private view returns (uint256 end) {
        end = _paidUntil(record, progress);
        if (progress.leftAt == 0) return end;
        uint256 elapsed = uint256(progress.leftAt) - record.start;
        uint256 begun = elapsed == 0 ? 1 : (elapsed + period - 1) / period;
        uint256 last = record.start + begun * period;
        if (last < end) end = last;
    }

    function _withdrawableAt(Record calldata record, Progress memory progress) private view returns (uint256 time) {
        time = uint256(progress.leftAt) + window;
        uint256 end = _streamEnd(record, progress);
        if (time < end) time = end;
    }

    // ------------------------------------------------------------------------------------------------------------
    // Amounts
    // ------------------------------------------------------------------------------------------------------------

    function _toAmount(uint256 amount) private pure returns (uint96) {
        if (amount > type(uint96).max) revert AmountOutOfRange(amount, type(uint96).max);
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint96(amount); // checked above
    }

    function _requireWithin(uint256 given, uint256 min, uint256 max) private pure {
        if (given < min || given > max) revert ParameterOutOfRange(given, min, max);
    }
}
