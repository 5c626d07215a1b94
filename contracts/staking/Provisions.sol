// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {INodeRegistry} from "../interfaces/INodeRegistry.sol";
import {Deposits} from "../libraries/Deposits.sol";
import {Credits} from "../payments/Credits.sol";

/// @title Stake, and who may slash it
/// @dev All of an operator's money is in its provisions; a holding sums them up. Invariants are numbered as in
/// tests/invariants/README.md.
abstract contract Provisions is INodeRegistry, Credits {
    using SafeERC20 for IERC20;

    /// @dev Of one operator, over all provisions.
    struct Holding {
        uint96 stake;
        uint96 thawing;
    }

    struct Entry {
        uint96 amount;
        uint96 thawing;
        uint40 thawedAt;
        uint96 locked;
        bool listed;
    }

    uint40 private constant MAX_UNBONDING = 365 days;
    address private constant UNASSIGNED = address(0);

    /// @inheritdoc INodeRegistry
    address public constant BURN_ADDRESS = 0x000000000000000000000000000000000000dEaD;

    /// @inheritdoc INodeRegistry
    address public immutable token;
    /// @inheritdoc INodeRegistry
    uint40 public immutable unbonding;

    /// @inheritdoc INodeRegistry
    uint256 public total;

    mapping(address operator => Holding) internal _holdings;
    mapping(address operator => mapping(address slasher => Entry)) private _entries;
    mapping(address operator => address[]) private _slashers;

    constructor(address token_, uint40 unbonding_) {
        if (token_.code.length == 0) revert Deposits.InvalidToken(token_);
        if (unbonding_ > MAX_UNBONDING) revert UnbondingTooLong(unbonding_, MAX_UNBONDING); // N5
        token = token_;
        unbonding = unbonding_;
    }

    // ------------------------------------------------------------------------------------------------------------
    // Operators
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc INodeRegistry
    function stake(uint96 amount) external nonReentrant {
        _requireRegistered(msg.sender);
        _requirePositive(amount);
        Holding storage holding = _holdings[msg.sender];
        // Bounds stake and thawing together, so that moving between the two never overflows either.
        _requireAtMost(amount, type(uint96).max - uint256(holding.stake) - holding.thawing);
        holding.stake += amount;
        _entries[msg.sender][UNASSIGNED].amount += amount;
        total += amount; // N1
        emit Staked(msg.sender, amount, holding.stake);
        Deposits.pull(token, msg.sender, amount);
    }

    /// @inheritdoc INodeRegistry
    function provision(address slasher, uint96 amount) external nonReentrant {
        if (slasher == UNASSIGNED || slasher == address(this)) revert InvalidSlasher(slasher);
        _requirePositive(amount);
        Entry storage unassigned = _entries[msg.sender][UNASSIGNED];
        Entry storage entry = _entries[msg.sender][slasher];
        _requireAtMost(amount, unassigned.amount); // N2
        unassigned.amount -= amount;
        entry.amount += amount;
        if (!entry.listed) {
            entry.listed = true;
            _slashers[msg.sender].push(slasher);
        }
        emit Provisioned(msg.sender, slasher, amount, entry.amount);
    }

    /// @inheritdoc INodeRegistry
    function thaw(address slasher, uint96 amount) external nonReentrant {
        _requirePositive(amount);
        Holding storage holding = _holdings[msg.sender];
        Entry storage entry = _entries[msg.sender][slasher];
        _requireAtMost(amount, entry.amount);
        entry.amount -= amount;
        entry.thawing += amount;
        holding.stake -= amount;
        holding.thawing += amount;
        // N5: only the operator itself can put off its exit. S5: all of it waits for the whole time.
        entry.thawedAt = uint40(block.timestamp) + unbonding;
        emit Thawing(msg.sender, slasher, amount, entry.thawedAt);
    }

    /// @inheritdoc INodeRegistry
    function cancelThaw(address slasher) external nonReentrant {
        Holding storage holding = _holdings[msg.sender];
        Entry storage entry = _entries[msg.sender][slasher];
        uint96 amount = _thawing(entry, slasher);
        entry.thawing = 0;
        entry.thawedAt = 0;
        entry.amount += amount;
        holding.thawing -= amount;
        holding.stake += amount;
        emit ThawCancelled(msg.sender, slasher, amount);
    }

    /// @inheritdoc INodeRegistry
    function withdraw(address slasher, address to) external nonReentrant {
        _requireReceiver(token, to);
        Entry storage entry = _entries[msg.sender][slasher];
        uint96 amount = _thawing(entry, slasher);
        uint256 thawedAt = entry.thawedAt;
        if (block.timestamp < thawedAt) revert TooEarly(block.timestamp, thawedAt);

        (uint96 backing, uint96 locked) = (entry.amount, entry.locked);
        if (locked > backing) {
            if (block.timestamp < thawedAt + unbonding) {
                uint96 kept = locked - backing; // N4
                if (kept == amount) revert StakeLocked(kept, thawedAt + unbonding);
                amount -= kept;
            } else {
                entry.locked = backing; // N5
            }
        }
        _takeThawing(entry, amount);
        _holdings[msg.sender].thawing -= amount;
        total -= amount; // N1
        emit Withdrawn(msg.sender, slasher, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Slashers
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc INodeRegistry
    function lock(address operator, uint96 amount) external nonReentrant {
        _requirePositive(amount);
        Entry storage entry = _entries[operator][msg.sender];
        uint256 holds = entry.amount;
        if (block.timestamp < entry.thawedAt) holds += entry.thawing; // or it could leave at once
        uint96 locked = entry.locked;
        _requireAtMost(amount, holds > locked ? holds - locked : 0);
        entry.locked = locked + amount;
        emit Locked(operator, msg.sender, amount, locked + amount);
    }

    /// @inheritdoc INodeRegistry
    function unlock(address operator, uint96 amount) external nonReentrant {
        _requirePositive(amount);
        Entry storage entry = _entries[operator][msg.sender];
        uint96 locked = entry.locked;
        if (amount > locked) amount = locked; // a bounded exit (N5) may have released it
        entry.locked = locked - amount;
        emit Unlocked(operator, msg.sender, amount, locked - amount);
    }

    /// @inheritdoc INodeRegistry
    function slash(address operator, uint96 amount, address beneficiary) external nonReentrant {
        _requirePositive(amount);
        _requireReceiver(token, beneficiary);
        Entry storage entry = _entries[operator][msg.sender];
        (uint96 backing, uint96 thawing) = (entry.amount, entry.thawing);
        _requireAtMost(2 * uint256(amount), backing + thawing - entry.locked); // N3
        uint96 taken = 2 * amount; // S2
        uint96 fromThawing = taken < thawing ? taken : thawing;
        uint96 fromBacking = taken - fromThawing;

        _takeThawing(entry, fromThawing);
        entry.amount = backing - fromBacking;
        _holdings[operator].thawing -= fromThawing;
        _holdings[operator].stake -= fromBacking;
        total -= taken; // N1
        emit Slashed(operator, msg.sender, beneficiary, amount);
        _pay(token, beneficiary, amount);
        _pay(token, BURN_ADDRESS, amount);
    }

    /// @inheritdoc INodeRegistry
    function sweep() external nonReentrant {
        _withdrawCredit(BURN_ADDRESS, token, BURN_ADDRESS);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Views
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc INodeRegistry
    function provisionOf(address operator, address slasher) public view returns (Provision memory) {
        Entry storage entry = _entries[operator][slasher];
        return Provision({amount: entry.amount, thawing: entry.thawing, thawedAt: entry.thawedAt, locked: entry.locked});
    }

    /// @inheritdoc INodeRegistry
    function provisions(address operator)
        external
        view
        returns (address[] memory slashers, Provision[] memory provisions_)
    {
        uint256 length = _slashers[operator].length + 1;
        slashers = new address[](length);
        provisions_ = new Provision[](length);
        for (uint256 i; i < length; ++i) {
            slashers[i] = i == 0 ? UNASSIGNED : _slashers[operator][i - 1];
            provisions_[i] = provisionOf(operator, slashers[i]);
        }
    }

    // ------------------------------------------------------------------------------------------------------------
    // Entries
    // ------------------------------------------------------------------------------------------------------------

    function _requireRegistered(address operator) internal view virtual;

    function _thawing(Entry storage entry, address slasher) private view returns (uint96 amount) {
        amount = entry.thawing;
        if (amount == 0) revert NothingThawing(msg.sender, slasher);
    }

    function _takeThawing(Entry storage entry, uint96 amount) private {
        uint96 left = entry.thawing - amount;
        entry.thawing = left;
        if (left == 0) entry.thawedAt = 0;
    }

    function _requirePositive(uint256 amount) private pure {
        if (amount == 0) revert ZeroAmount();
    }

    function _requireAtMost(uint256 amount, uint256 max) private pure {
        if (amount > max) revert AmountOutOfRange(amount, max);
    }
}
