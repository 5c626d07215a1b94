// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IChannels} from "../interfaces/IChannels.sol";

/// @notice Reads what everybody has in one call, for tests that look after every step.
contract Census {
    /// @notice Tokens that `channels` holds, and each person's tokens and credit.
    function take(IChannels channels, address token, address[] calldata people)
        external
        view
        returns (uint256 held, uint256[] memory balances, uint256[] memory credits)
    {
        held = IERC20(token).balanceOf(address(channels));
        balances = new uint256[](people.length);
        credits = new uint256[](people.length);
        for (uint256 i; i < people.length; ++i) {
            balances[i] = IERC20(token).balanceOf(people[i]);
            credits[i] = channels.credit(people[i], token);
        }
    }
}
