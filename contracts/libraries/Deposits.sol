// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IERC3009} from "@openzeppelin/contracts/interfaces/draft-IERC3009.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Deposits that arrive in full
/// @notice The three ways in which a person's tokens come to this contract. All refuse a token that delivers less than
/// it was asked for. None checks that the person wants it: that is for the caller, before.
library Deposits {
    using SafeERC20 for IERC20;

    /// @notice Arguments of an ERC-2612 permit for this contract; `deadline` 0 means that there is none.
    struct Permit {
        uint256 value;
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice Arguments of an ERC-3009 authorization. Its `to` is this contract, its `value` the action's amount and
    /// its `nonce` the action's EIP-712 struct hash, so it pays for that action and for no other.
    struct Authorization {
        uint256 validAfter;
        uint256 validBefore;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice There is no contract at the token's address.
    error InvalidToken(address token);
    /// @notice The token delivered less than it was asked for.
    error ShortTransfer(uint256 received, uint256 expected);

    /// @notice Takes `amount` of what `from` approved.
    function pull(address token, address from, uint256 amount) internal {
        uint256 before = _balance(token);
        IERC20(token).safeTransferFrom(from, address(this), amount);
        _requireReceived(token, before, amount);
    }

    /// @notice Takes `amount` of what `from` approved, by the permit or earlier.
    /// @dev A permit names no purpose, so it never moves money. It may fail: somebody may have used it first.
    function pullWithPermit(address token, address from, uint256 amount, Permit calldata permit) internal {
        if (permit.deadline != 0 && token.code.length != 0) {
            try IERC20Permit(token)
                .permit(from, address(this), permit.value, permit.deadline, permit.v, permit.r, permit.s) {}
                catch {}
        }
        pull(token, from, amount);
    }

    /// @notice Takes `amount` by `from`'s ERC-3009 authorization with the given nonce.
    function pullWithAuthorization(
        address token,
        address from,
        uint256 amount,
        bytes32 nonce,
        Authorization calldata authorization
    ) internal {
        uint256 before = _balance(token);
        IERC3009(token)
            .receiveWithAuthorization(
                from,
                address(this),
                amount,
                authorization.validAfter,
                authorization.validBefore,
                nonce,
                authorization.v,
                authorization.r,
                authorization.s
            );
        _requireReceived(token, before, amount);
    }

    function _balance(address token) private view returns (uint256) {
        if (token.code.length == 0) revert InvalidToken(token);
        return IERC20(token).balanceOf(address(this));
    }

    function _requireReceived(address token, uint256 before, uint256 amount) private view {
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        if (received < amount) revert ShortTransfer(received, amount);
    }
}
