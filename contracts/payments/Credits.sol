// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {ICredits} from "../interfaces/ICredits.sol";

/// @title What a contract owes, and payments that nobody can block
/// @dev The base of every contract that pays: it brings the EIP-712 domain and the reentrancy guard along.
abstract contract Credits is ICredits, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    bytes32 private constant WITHDRAW_CREDIT_TYPEHASH =
        keccak256("WithdrawCredit(address owner,address token,address to,bytes32 salt,uint40 deadline)");

    /// @dev A transfer that fails with less gas than this may have been starved by the caller, who could otherwise
    /// turn anybody's payment into a credit; with at least this much, the token refused.
    uint256 private constant MIN_PUSH_GAS = 500_000;

    mapping(address owner => mapping(address token => uint256)) private _credits;
    mapping(bytes32 digest => bool) private _used;

    // ------------------------------------------------------------------------------------------------------------
    // Entry points
    // ------------------------------------------------------------------------------------------------------------

    /// @inheritdoc ICredits
    function withdrawCredit(address token, address to) external nonReentrant {
        _withdrawCredit(msg.sender, token, to);
    }

    /// @inheritdoc ICredits
    function withdrawCreditFor(
        address owner,
        address token,
        address to,
        bytes32 salt,
        uint40 deadline,
        bytes calldata ownerSig
    ) external nonReentrant {
        bytes32 structHash = keccak256(abi.encode(WITHDRAW_CREDIT_TYPEHASH, owner, token, to, salt, deadline));
        _authorizeOnce(owner, structHash, deadline, ownerSig);
        _withdrawCredit(owner, token, to);
    }

    /// @inheritdoc ICredits
    function credit(address owner, address token) external view returns (uint256) {
        return _credits[owner][token];
    }

    /// @inheritdoc ICredits
    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    // ------------------------------------------------------------------------------------------------------------
    // Money
    // ------------------------------------------------------------------------------------------------------------

    /// @dev Pays what was owed, or credits it if the token refuses the transfer.
    function _pay(address token, address to, uint256 amount) internal {
        if (amount == 0) return;
        uint256 available = gasleft();
        if (IERC20(token).trySafeTransfer(to, amount)) return;
        if (available < MIN_PUSH_GAS) revert InsufficientGas(available, MIN_PUSH_GAS);
        _credits[to][token] += amount;
        emit Credited(to, token, amount);
    }

    function _withdrawCredit(address owner, address token, address to) internal {
        _requireReceiver(token, to);
        uint256 amount = _credits[owner][token];
        if (amount == 0) revert NothingToWithdraw(owner, token);
        _credits[owner][token] = 0;
        emit CreditWithdrawn(owner, token, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    function _requireReceiver(address token, address to) internal view {
        if (to == address(0) || to == token || to == address(this)) revert InvalidReceiver(to);
    }

    // ------------------------------------------------------------------------------------------------------------
    // Signatures
    // ------------------------------------------------------------------------------------------------------------

    /// @dev S1: the digest binds chain and contract (domain) and action (typehash).
    function _authorize(address account, bytes32 structHash, uint256 deadline, bytes calldata signature)
        internal
        view
        returns (bytes32 digest)
    {
        _requireBy(deadline);
        digest = _hashTypedDataV4(structHash);
        // The key first: an account keeps it, also when it delegates to code that knows no ERC-1271 (EIP-7702).
        (address recovered,,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (recovered == account && account != address(0)) return digest;
        if (!SignatureChecker.isValidSignatureNowCalldata(account, digest, signature)) {
            revert InvalidSignature(account);
        }
    }

    /// @dev For actions that no state of theirs keeps from happening twice.
    function _authorizeOnce(address account, bytes32 structHash, uint256 deadline, bytes calldata signature) internal {
        _useOnce(_authorize(account, structHash, deadline, signature));
    }

    function _useOnce(bytes32 digest) internal {
        if (_used[digest]) revert AlreadyUsed(digest);
        _used[digest] = true;
    }

    function _requireBy(uint256 deadline) internal view {
        if (block.timestamp > deadline) revert DeadlinePassed(deadline, block.timestamp);
    }
}
