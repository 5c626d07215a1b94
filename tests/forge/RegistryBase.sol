// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {INodeRegistry} from "../../contracts/interfaces/INodeRegistry.sol";
import {RefusingToken} from "../../contracts/mocks/RefusingToken.sol";
import {NodeRegistry} from "../../contracts/staking/NodeRegistry.sol";
import {Base} from "./Base.sol";

/// @notice One registered operator with tokens, and one slasher.
abstract contract RegistryBase is Base {
    uint96 internal constant MIN_STAKE = 1000;
    uint40 internal constant UNBONDING = 40 days;
    address internal constant SLASHER = address(0x51A5);
    address internal constant VICTIM = address(0x71C7);
    address internal constant BURN = 0x000000000000000000000000000000000000dEaD;

    address internal immutable operator = payer;
    NodeRegistry internal registry;

    function setUp() public virtual {
        vm.warp(START);
        token = new RefusingToken();
        registry = new NodeRegistry(address(token), MIN_STAKE, UNBONDING);
        token.mint(operator, 1 << 100);
        vm.prank(operator);
        token.approve(address(registry), type(uint256).max);
        register(operator, SIGNER_KEY);
    }

    function proof(uint256 key, address account) internal view returns (bytes memory) {
        bytes32 typehash = keccak256("NodeKey(address operator,address nodeKey)");
        bytes32 structHash = keccak256(abi.encode(typehash, account, vm.addr(key)));
        return signature(key, typed(domainOf("Waypost NodeRegistry", address(registry)), structHash));
    }

    function register(address account, uint256 key) internal {
        bytes memory keySig = proof(key, account);
        vm.prank(account);
        registry.register(3, vm.addr(key), payee, "http://a", bytes32(uint256(9)), keySig);
    }

    function stake(uint96 amount) internal {
        vm.prank(operator);
        registry.stake(amount);
    }

    function provide(uint96 amount) internal {
        stake(amount);
        vm.prank(operator);
        registry.provision(SLASHER, amount);
    }

    function thaw(uint96 amount) internal {
        vm.prank(operator);
        registry.thaw(SLASHER, amount);
    }

    function withdraw() internal {
        vm.prank(operator);
        registry.withdraw(SLASHER, thief);
    }

    function lock(uint96 amount) internal {
        vm.prank(SLASHER);
        registry.lock(operator, amount);
    }

    function unlock(uint96 amount) internal {
        vm.prank(SLASHER);
        registry.unlock(operator, amount);
    }

    function slash(uint96 amount) internal {
        vm.prank(SLASHER);
        registry.slash(operator, amount, VICTIM);
    }

    function refused(bytes4 selector, uint256 given, uint256 max) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, given, max));
    }

    function tooMuch(uint256 given, uint256 max) internal {
        refused(INodeRegistry.AmountOutOfRange.selector, given, max);
    }

    /// @dev What the slasher's provision is, and that the sums over all provisions agree (N1, N2).
    function has(uint256 amount, uint256 thawing, uint256 thawedAt, uint256 locked) internal view {
        INodeRegistry.Provision memory entry = registry.provisionOf(operator, SLASHER);
        eq(entry.amount, amount);
        eq(entry.thawing, thawing);
        eq(entry.thawedAt, thawedAt);
        eq(entry.locked, locked);
        INodeRegistry.Node memory node = registry.node(operator);
        INodeRegistry.Provision memory unassigned = registry.provisionOf(operator, address(0));
        eq(node.stake, amount + unassigned.amount);
        eq(node.thawing, thawing + unassigned.thawing);
        eq(registry.total(), uint256(node.stake) + node.thawing);
        eq(
            token.balanceOf(address(registry)),
            registry.total() + registry.credit(BURN, address(token)) + registry.credit(VICTIM, address(token))
        );
    }
}
