"""What a member's registration, extension or exit must fulfil before the node spends gas on it.
Pure: no chain, no database, no clock."""

from dataclasses import dataclass

from eth_typing import ChecksumAddress

from waypost.chain.fee_streams import Tariff, home_share
from waypost.chain.membership import MemberRecord, MemberState
from waypost.errors import (
    JSON,
    InvalidAuthorization,
    InvalidSignature,
    MembershipRateLimited,
    MembershipRefused,
)
from waypost.node.submissions import Kind, check_validity
from waypost.protocol.eip712 import Domain
from waypost.protocol.memberships import Exit, Extension, Registration, parse_authorization
from waypost.protocol.openings import Authorization
from waypost.protocol.poseidon import R
from waypost.protocol.signatures import Signature

REGISTRATION = Kind("registration", MembershipRefused, MembershipRateLimited)
EXTENSION = Kind("extension", MembershipRefused, MembershipRateLimited)
EXIT = Kind("exit", MembershipRefused, MembershipRateLimited)
WITHDRAWAL = Kind("withdrawal", MembershipRefused, MembershipRateLimited)
MAX_AMOUNT = 2**96 - 1


@dataclass(frozen=True, slots=True)
class RegistrationRules:
    """For members of the home node `payee`. `domain` is the contract's, `token_domain` its token's;
    `paid_in_token`: whether that is the token in which the node counts its gas."""

    payee: ChecksumAddress
    membership: ChecksumAddress
    domain: Domain
    token_domain: Domain
    tariff: Tariff
    paid_in_token: bool

    def check_registration(self, registration: Registration, authorization: JSON) -> Authorization:
        """The payer's authorization, if it pays for a member of this node.

        Raises MembershipRefused or InvalidAuthorization.
        """
        self.check_home(registration.home_node)
        if not 0 < registration.id_commitment < R:
            raise MembershipRefused("A commitment is a field element other than zero.")
        if registration.rate == 0:
            raise MembershipRefused("A member may send something: its rate is 0.", field="rate")
        fee = self.tariff.fee(registration.rate, registration.periods)
        return self._payment(registration, self.tariff.stake(registration.rate) + fee, authorization)

    def check_extension(
        self, extension: Extension, record: MemberRecord, authorization: JSON
    ) -> Authorization:
        """The same of an extension of the member with this record."""
        self.check_home(record.home_node)
        fee = self.tariff.fee(record.rate, extension.periods)
        return self._payment(extension, fee, authorization)

    def check_exit(self, exit_: Exit, record: MemberRecord, signature: Signature) -> None:
        """That the owner wants it. Raises MembershipRefused or InvalidSignature."""
        self.check_home(record.home_node)
        found = exit_.recover(self.domain, signature)
        if found != record.owner:
            raise InvalidSignature(
                f"The exit was signed by {found}, not by the owner.", signer=record.owner, recovered=found
            )

    def check_home(self, home_node: ChecksumAddress) -> None:
        """Raises MembershipRefused unless the member pays this node."""
        if home_node != self.payee:
            raise MembershipRefused(
                f"The member's home node is {home_node}; this node is paid at {self.payee}.",
                homeNode=home_node,
                payee=self.payee,
            )

    def kept(self, record: MemberRecord, state: MemberState | None, now: int) -> int:
        """What the node is sure to keep of the member's fees, in the token that its gas is counted in:
        nothing in another token, nor of somebody whom the chain does not know."""
        return self.tariff.kept(record, state, now) if self.paid_in_token and state else 0

    def kept_at_first(self, rate: int) -> int:
        """The same of a registration: who leaves at once gets back all but the first period."""
        return home_share(self.tariff.fee(rate, 1)) if self.paid_in_token else 0

    def check_times(self, kind: Kind, deadline: int, authorization: Authorization, now: int) -> None:
        """That the signatures last long enough. Raises MembershipRefused."""
        check_validity(kind, deadline, now, authorization.transfer)

    def _payment(self, purpose: Registration | Extension, amount: int, authorization: JSON) -> Authorization:
        if purpose.periods == 0 or amount > MAX_AMOUNT:
            raise MembershipRefused(
                f"{purpose.periods} periods cannot be paid for.", field="periods", amount=str(amount)
            )
        parsed = parse_authorization(authorization, purpose, amount, self.membership)
        try:
            parsed.verify(self.token_domain)
        except InvalidSignature as error:
            raise InvalidAuthorization(
                f"The authorization is not the payer's, of {amount} base units for this: {error}",
                amount=str(amount),
                to=self.membership,
            ) from None
        return parsed
