"""Every error as an RFC 9457 problem document.
The mapping from errors to HTTP statuses lives here and nowhere else."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waypost import errors
from waypost.errors import JSON, WaypostError
from waypost.node.payment import Purchase
from waypost.protocol.payments import PaymentRequired

PROBLEM = "application/problem+json"

log = structlog.get_logger(__name__)

STATUS: Mapping[type[WaypostError], HTTPStatus] = {
    # A value is malformed, or says what cannot be.
    errors.ProtocolError: HTTPStatus.BAD_REQUEST,
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.InvalidCursor: HTTPStatus.BAD_REQUEST,
    errors.ClockSkew: HTTPStatus.BAD_REQUEST,
    errors.EpochOutOfRange: HTTPStatus.BAD_REQUEST,
    errors.RetentionOutOfRange: HTTPStatus.BAD_REQUEST,
    # Nobody may do this without showing who asks.
    errors.SessionInvalid: HTTPStatus.UNAUTHORIZED,
    errors.SessionExpired: HTTPStatus.UNAUTHORIZED,
    errors.AdminTokenInvalid: HTTPStatus.UNAUTHORIZED,
    # Not paid, or paid with a receipt that does not count: x402 answers both with 402.
    errors.PaymentRequired: HTTPStatus.PAYMENT_REQUIRED,
    errors.InvalidReceipt: HTTPStatus.PAYMENT_REQUIRED,
    errors.ReceiptExceedsDeposit: HTTPStatus.PAYMENT_REQUIRED,
    errors.ReceiptForAnotherNode: HTTPStatus.PAYMENT_REQUIRED,
    errors.ReceiptTooSmall: HTTPStatus.PAYMENT_REQUIRED,
    errors.StaleReceipt: HTTPStatus.PAYMENT_REQUIRED,
    # Refused as things are.
    errors.QuotaExceeded: HTTPStatus.FORBIDDEN,
    errors.MemberExposed: HTTPStatus.FORBIDDEN,
    errors.ChannelUnknown: HTTPStatus.NOT_FOUND,
    errors.MemberUnknown: HTTPStatus.NOT_FOUND,
    errors.MessageUnknown: HTTPStatus.NOT_FOUND,
    errors.RlnUnavailable: HTTPStatus.NOT_FOUND,
    errors.RouteUnknown: HTTPStatus.NOT_FOUND,
    errors.MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    errors.RequestTimeout: HTTPStatus.REQUEST_TIMEOUT,
    errors.ChannelClosed: HTTPStatus.CONFLICT,
    errors.ChannelClosing: HTTPStatus.CONFLICT,
    errors.ChannelNotFinal: HTTPStatus.CONFLICT,
    errors.ConsentUnavailable: HTTPStatus.CONFLICT,
    errors.ClaimPaysNothing: HTTPStatus.CONFLICT,
    errors.CloseDelayTooShort: HTTPStatus.CONFLICT,
    errors.IdempotencyConflict: HTTPStatus.CONFLICT,
    errors.PriceExpired: HTTPStatus.CONFLICT,
    errors.MessageConflict: HTTPStatus.CONFLICT,
    errors.RootUnknown: HTTPStatus.CONFLICT,
    errors.MemberRemoved: HTTPStatus.GONE,
    errors.MessageExpired: HTTPStatus.GONE,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.MessageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.HeadersTooLarge: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.MembershipRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.OpeningRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TransactionReverted: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.MembershipRateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.OpeningRateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.RateExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.SubscriberTooSlow: HTTPStatus.TOO_MANY_REQUESTS,
    # The node cannot, for now.
    errors.NodeNotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ChainError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.WaypostError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status of an error is that of its nearest class listed here."""

_TELLING = (errors.NodeNotReady, errors.StorageFull, errors.InternalError)


def status_of(error: WaypostError | type[WaypostError]) -> HTTPStatus:
    """The HTTP status that answers this error."""
    kind = error if isinstance(error, type) else type(error)
    return next(STATUS[base] for base in kind.__mro__ if base in STATUS)


def document(error: WaypostError) -> dict[str, JSON]:
    """The problem document of an error: its figures, and the members that RFC 9457 names."""
    return {
        **error.details,
        "type": f"urn:waypost:error:{error.code}",
        "title": error.title,
        "status": int(status_of(error)),
        "detail": str(error),
        "code": error.code,
    }


def problem(error: WaypostError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer to a request that failed with this error."""
    status = status_of(error)
    answer = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        answer["WWW-Authenticate"] = "Bearer"
    if (seconds := error.details.get("retryAfter")) is not None:
        answer["Retry-After"] = str(seconds)
    return JSONResponse(document(error), status, answer, media_type=PROBLEM)


async def respond(error: WaypostError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer from in front of the routes."""
    await problem(error)(scope, receive, send)


PAID = (401, 402, 404, 409, 503, 507)
"""What every paid route may answer."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for these statuses, and for those that any route may answer."""
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    always = (400, 405, 408, 413, 415, 429, 500)
    documented: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*always, *statuses})
    }
    if HTTPStatus.PAYMENT_REQUIRED in statuses:
        header = {"description": "x402 v2, base64 JSON: how to pay.", "schema": {"type": "string"}}
        documented[402]["headers"] = {PaymentRequired.header: header}
    return documented


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""

    @app.exception_handler(WaypostError)
    async def _(request: Request, error: WaypostError) -> JSONResponse:
        ours = status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR
        if ours and not isinstance(error, errors.NodeNotReady):  # of that, sync tells the log once
            log.warning("request_failed", route=_route(request.scope), code=error.code, reason=str(error))
        headers: dict[str, str] = {}
        purchase: Purchase | None = getattr(request.state, "purchase", None)
        if purchase and status_of(error) == HTTPStatus.PAYMENT_REQUIRED:
            headers = await purchase.refusal(error)
        return problem(public(error), headers)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(_malformed(error))

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        return problem(_from_framework(error, request), error.headers)

    app.add_middleware(_LastResort)  # the innermost: what it answers passes through all others


class _LastResort:
    """Turns what nobody expected into a problem document, and tells its story to the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            log.error("request_crashed", route=_route(scope), exc_info=error)
            if started:
                raise
            await respond(errors.InternalError(), scope, receive, send)


def _route(scope: Scope) -> str:
    """The template: a path itself may name a channel."""
    return getattr(scope.get("route"), "path", "unmatched")


def public(error: WaypostError) -> WaypostError:
    """What strangers may know: how our chain or our data failed is for the log."""
    if status_of(error) < HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(error, _TELLING):
        return error
    if isinstance(error, errors.ChainError):
        return errors.NodeNotReady(
            "The node's chain does not answer as it should; try again shortly.", retryAfter=5
        )
    return errors.InternalError()


def _malformed(error: RequestValidationError) -> WaypostError:
    """Names the first fault and its place, never the value: values may be private."""
    fault = error.errors()[0]
    if fault["type"] == "json_invalid":
        return errors.InvalidRequest("The body is not JSON that can be read.")
    part, *path = map(str, fault["loc"])
    field, why = ".".join(path), fault["msg"].removeprefix("Value error, ")
    where = f"{part} field {field}" if field else part
    return errors.InvalidRequest(f"The {where} is not acceptable: {why}.", field=field or None)


def _from_framework(error: HTTPException, request: Request) -> WaypostError:
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return errors.RouteUnknown("There is no such route; /openapi.json lists them.")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return errors.MethodNotAllowed(f"This route does not answer {request.method[:16]}.")
        case HTTPStatus.BAD_REQUEST:
            return errors.InvalidRequest("The body is not JSON that can be read.")
        case _:
            return errors.InternalError(error.detail)
