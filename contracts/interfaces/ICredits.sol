// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Payments that nobody can block
/// @notice What a contract owes is sent. Where the token refuses the transfer, the receiver is *credited* and withdraws
/// to any address, so that a receiver who cannot be paid (a denylisted address, say) stands in nobody else's way.
interface ICredits {
    // ------------------------------------------------------------------------------------------------------------
    // Events
    // ------------------------------------------------------------------------------------------------------------

    /// @notice The token refused a transfer to `owner`, who can now withdraw the amount to any address.
    event Credited(address indexed owner, address indexed token, uint256 amount);

    /// @notice `owner` withdrew its whole credit.
    event CreditWithdrawn(address indexed owner, address indexed token, address to, uint256 amount);

    // ------------------------------------------------------------------------------------------------------------
    // Errors
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Money cannot be sent to nobody, the token, or this contract.
    error InvalidReceiver(address to);
    /// @notice The signature is not `expected`'s signature of this action.
    error InvalidSignature(address expected);
    /// @notice The signed action has expired.
    error DeadlinePassed(uint256 deadline, uint256 timestamp);
    /// @notice The signed action was carried out before.
    error AlreadyUsed(bytes32 digest);
    /// @notice The owner has no credit in this token.
    error NothingToWithdraw(address owner, address token);
    /// @notice A transfer failed with less gas than a token may ask for: call again with more.
    error InsufficientGas(uint256 given, uint256 min);

    // ------------------------------------------------------------------------------------------------------------
    // Credits
    // ------------------------------------------------------------------------------------------------------------

    /// @notice Sends the caller's whole credit, left by refused transfers, to `to`. Reverts if that is refused too.
    function withdrawCredit(address token, address to) external;

    /// @notice Sends `owner`'s whole credit with the owner's signature of
    /// `WithdrawCredit(address owner,address token,address to,bytes32 salt,uint40 deadline)`. Once per signature.
    /// @param ownerSig ECDSA (65 bytes) or ERC-1271.
    function withdrawCreditFor(
        address owner,
        address token,
        address to,
        bytes32 salt,
        uint40 deadline,
        bytes calldata ownerSig
    ) external;

    // ------------------------------------------------------------------------------------------------------------
    // Views
    // ------------------------------------------------------------------------------------------------------------

    /// @notice What `owner` may withdraw because transfers to it were refused.
    function credit(address owner, address token) external view returns (uint256);

    /// @notice The EIP-712 domain separator.
    function DOMAIN_SEPARATOR() external view returns (bytes32);
}
