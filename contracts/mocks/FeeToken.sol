// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {DevDollar} from "./DevDollar.sol";

/// @notice A test token that keeps one percent of every transfer.
contract FeeToken is DevDollar {
    function _update(address from, address to, uint256 amount) internal override {
        bool moved = from != address(0) && to != address(0);
        uint256 fee = moved ? amount / 100 : 0;
        if (fee != 0) super._update(from, address(0), fee);
        super._update(from, to, amount - fee);
    }
}
