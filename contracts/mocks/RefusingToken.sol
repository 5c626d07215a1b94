// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

import {DevDollar} from "./DevDollar.sol";

/// @notice A test token that refuses transfers to the addresses it is told, in the way it is told.
contract RefusingToken is DevDollar {
    enum Refusal {
        None,
        Revert,
        ReturnFalse,
        ReturnBomb,
        BurnGas,
        ReturnFalseIfStarved
    }

    mapping(address receiver => Refusal) public refusalOf;

    /// @notice The receiver is on the list.
    error Denied(address receiver);

    /// @notice Chooses how transfers to `receiver` fail.
    function refuse(address receiver, Refusal refusal) external {
        refusalOf[receiver] = refusal;
    }

    /// @inheritdoc ERC20
    function transfer(address to, uint256 amount) public override returns (bool) {
        return _refused(to) ? false : super.transfer(to, amount);
    }

    /// @inheritdoc ERC20
    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        return _refused(to) ? false : super.transferFrom(from, to, amount);
    }

    function _refused(address to) private view returns (bool) {
        Refusal refusal = refusalOf[to];
        if (refusal == Refusal.Revert) revert Denied(to);
        if (refusal == Refusal.ReturnBomb) {
            assembly ("memory-safe") {
                revert(0, 300000) // the caller pays for a copy, if it makes one
            }
        }
        if (refusal == Refusal.BurnGas) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        if (refusal == Refusal.ReturnFalseIfStarved) return gasleft() < 400_000;
        return refusal == Refusal.ReturnFalse;
    }
}
