// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IChannels} from "../interfaces/IChannels.sol";
import {Receipts} from "../payments/Receipts.sol";

/// @notice Shows whom the claim's hot path takes for the signer of a receipt.
contract ReceiptProbe {
    using Receipts for Receipts.Template;

    /// @notice As `claim` would recover it in the given domain.
    function signerOf(bytes32 domainSeparator, address payee, address token, IChannels.SignedReceipt calldata receipt)
        external
        view
        returns (address signer)
    {
        (signer,) = Receipts.template(domainSeparator, payee, token).read(receipt);
    }
}
