// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {DevDollar} from "./DevDollar.sol";

/// @notice A test token that calls somebody in the middle of its next transfer.
contract ReentrantToken is DevDollar {
    address private _target;
    bytes private _data;

    /// @notice Whether the call was made, whether it went through, and what it returned.
    bool public called;
    bool public succeeded;
    bytes public answer;

    /// @notice Sets the call to make.
    function arm(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
        called = false;
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (_target == address(0)) return;
        address target = _target;
        _target = address(0);
        called = true;
        (succeeded, answer) = target.call(_data);
    }
}
