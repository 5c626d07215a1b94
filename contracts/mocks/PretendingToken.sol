// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {SilentToken} from "./SilentToken.sol";

/// @notice A test token that accepts every call that it does not know, and does nothing, as a wrapped coin's fallback.
contract PretendingToken is SilentToken {
    fallback() external {}
}
