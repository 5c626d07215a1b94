// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";

/// @title Dev Dollar
/// @notice A TEST TOKEN THAT ANYBODY CAN MINT, AND THEREFORE WORTH NOTHING. It stands in for a stablecoin on local
/// chains and testnets: 6 decimals, ERC-2612 permits and ERC-3009 authorizations, in the domain ("Dev Dollar", "1").
contract DevDollar is ERC20Permit, ERC3009 {
    constructor() ERC20("Dev Dollar", "DUSD") ERC20Permit("Dev Dollar") {}

    /// @notice Makes `amount` (base units) out of nothing for `to`, whoever calls.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Six, as the stablecoins it stands in for.
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
