// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Deposits that arrive in full
library Deposits {
    using SafeERC20 for IERC20;

    /// @notice There is no contract at the token's address.
    error InvalidToken(address token);
    /// @notice The token delivered less than it was asked for.
    error ShortTransfer(uint256 received, uint256 expected);

    /// @notice Moves `amount` of `from`'s approved tokens to this contract.
    function pull(address token, address from, uint256 amount) internal {
        uint256 before = balance(token);
        IERC20(token).safeTransferFrom(from, address(this), amount);
        requireReceived(token, before, amount);
    }

    /// @notice This contract's balance before a transfer, for `requireReceived` after it.
    function balance(address token) internal view returns (uint256) {
        if (token.code.length == 0) revert InvalidToken(token);
        return IERC20(token).balanceOf(address(this));
    }

    /// @notice Refuses a transfer that brought less than `amount`.
    function requireReceived(address token, uint256 before, uint256 amount) internal view {
        uint256 current = IERC20(token).balanceOf(address(this));
        uint256 received = current > before ? current - before : 0;
        if (received < amount) revert ShortTransfer(received, amount);
    }
}
