// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ICredits} from "../../contracts/interfaces/ICredits.sol";
import {INodeRegistry} from "../../contracts/interfaces/INodeRegistry.sol";
import {Deposits} from "../../contracts/libraries/Deposits.sol";
import {NodeRegistry} from "../../contracts/staking/NodeRegistry.sol";
import {RegistryBase} from "./RegistryBase.sol";

/// @notice Registrations, keys and the list of nodes.
contract RegistryNodesTest is RegistryBase {
    function testConstructor() external {
        eq(registry.token(), address(token));
        eq(registry.minStake(), MIN_STAKE);
        eq(registry.unbonding(), UNBONDING);
        eq(registry.BURN_ADDRESS(), BURN);
        eq(registry.STORE(), 1);
        eq(registry.RELAY(), 2);
        eq(registry.LEASE(), 4);
        eq(new NodeRegistry(address(token), 0, 365 days).unbonding(), 365 days);
        refused(INodeRegistry.UnbondingTooLong.selector, 365 days + 1, 365 days);
        new NodeRegistry(address(token), 0, 365 days + 1);
        vm.expectRevert(abi.encodeWithSelector(Deposits.InvalidToken.selector, thief));
        new NodeRegistry(thief, 0, 1);
    }

    function testRegisters() external {
        bytes memory keySig = proof(PAYEE_KEY, thief);
        vm.expectEmit(address(registry));
        emit INodeRegistry.Registered(thief, payee, 5, VICTIM, "http://b", bytes32(uint256(8)));
        vm.prank(thief);
        registry.register(5, payee, VICTIM, "http://b", bytes32(uint256(8)), keySig);
        INodeRegistry.Node memory node = registry.node(thief);
        eq(node.operator, thief);
        eq(node.nodeKey, payee);
        eq(node.payout, VICTIM);
        eq(node.services, 5);
        eq(node.registeredAt, START);
        eq(uint256(node.metadataHash), 8);
        eq(uint256(keccak256(bytes(node.endpoint))), uint256(keccak256("http://b")));
        eq(registry.count(), 2);
        eq(registry.node(VICTIM).operator, address(0));
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.AlreadyRegistered.selector, thief));
        vm.prank(thief);
        registry.register(5, payee, VICTIM, "http://b", 0, keySig);
    }

    function testRefusesOthersKeys() external {
        bytes memory keySig = proof(SIGNER_KEY, thief);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NodeKeyUsed.selector, signer));
        vm.prank(thief);
        registry.register(5, signer, payee, "http://b", 0, keySig);
        keySig = proof(PAYEE_KEY, operator); // copied from somebody who registers it
        vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidSignature.selector, payee));
        vm.prank(thief);
        registry.register(5, payee, payee, "http://b", 0, keySig);
        vm.expectRevert(abi.encodeWithSelector(ICredits.InvalidSignature.selector, address(0)));
        vm.prank(thief);
        registry.register(5, address(0), payee, "http://b", 0, new bytes(65));
    }

    function publish(uint32 services, address payout, bytes memory endpoint) private {
        vm.prank(operator);
        registry.update(services, payout, string(endpoint), bytes32(uint256(7)));
    }

    function testUpdates() external {
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NotRegistered.selector, thief));
        vm.prank(thief);
        registry.update(1, payee, "x", 0);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NoServices.selector));
        publish(0, payee, "x");
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.InvalidPayout.selector, address(0)));
        publish(1, address(0), "x");
        bytes memory endpoint = new bytes(257);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.EndpointLengthOutOfRange.selector, 0, 1, 256));
        publish(1, payee, "");
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.EndpointLengthOutOfRange.selector, 257, 1, 256));
        publish(1, payee, endpoint);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.InvalidEndpoint.selector, 1, bytes1(0x20)));
        publish(1, payee, "a b");
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.InvalidEndpoint.selector, 0, bytes1(0x7f)));
        publish(1, payee, hex"7f");
        endpoint = new bytes(256);
        for (uint256 i; i < 256; ++i) {
            endpoint[i] = i % 2 == 0 ? bytes1("!") : bytes1("~");
        }
        vm.expectEmit(address(registry));
        emit INodeRegistry.Updated(operator, 4, thief, string(endpoint), bytes32(uint256(7)));
        publish(4, thief, endpoint);
        INodeRegistry.Node memory node = registry.node(operator);
        eq(node.services, 4);
        eq(node.payout, thief);
        eq(uint256(node.metadataHash), 7);
        eq(uint256(keccak256(bytes(node.endpoint))), uint256(keccak256(endpoint)));
    }

    function period(address key, address owner, uint256 from, uint256 until) private view {
        (address operator_, uint40 from_, uint40 until_) = registry.keyPeriod(key);
        eq(operator_, owner);
        eq(from_, from);
        eq(until_, until);
    }

    function testRotatesKeys() external {
        period(signer, operator, START, type(uint40).max);
        vm.warp(START + 50);
        bytes memory keySig = proof(THIEF_KEY, operator);
        vm.expectEmit(address(registry));
        emit INodeRegistry.KeyRotated(operator, thief, signer);
        vm.prank(operator);
        registry.rotateKey(thief, keySig);
        period(signer, operator, START, START + 50);
        period(thief, operator, START + 50, type(uint40).max);
        eq(registry.node(operator).nodeKey, thief);
        keySig = proof(SIGNER_KEY, operator);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NodeKeyUsed.selector, signer));
        vm.prank(operator);
        registry.rotateKey(signer, keySig);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NotRegistered.selector, thief));
        vm.prank(thief);
        registry.rotateKey(payee, keySig);
    }

    function testListsNodes() external {
        register(thief, THIEF_KEY);
        register(payee, PAYEE_KEY);
        stake(MIN_STAKE);
        (INodeRegistry.Node[] memory page, uint256 next) = registry.nodes(1, 0, 10);
        eq(page.length, 1);
        eq(page[0].operator, operator);
        eq(page[0].stake, MIN_STAKE);
        eq(next, 0);
        (page, next) = registry.nodes(3, 0, 2);
        eq(page.length, 1);
        eq(next, 2);
        (page, next) = registry.nodes(1, 2, 1);
        eq(page.length, 0);
        eq(next, 0);
        (page, next) = registry.nodes(5, 0, type(uint256).max);
        eq(page.length, 0);
        eq(next, 0);
        (page, next) = registry.nodes(1, 3, 1);
        eq(page.length, 0);
        eq(next, 0);
        (page, next) = registry.nodes(1, 4, 1);
        eq(page.length, 0);
        eq(next, 0);
        (page, next) = registry.nodes(1, 2, 2);
        eq(page.length, 0);
        eq(next, 0);
        vm.prank(operator);
        registry.thaw(address(0), 1);
        (page,) = registry.nodes(1, 0, 10);
        eq(page.length, 0);
        (page, next) = registry.nodes(1, 1, 1);
        eq(next, 2);
    }
}
