"""Health, for whoever runs the process: /healthz says that it lives, /readyz that it follows its chain."""

from typing import Literal

from fastapi import APIRouter

from waypost.node.api.access import NodeHere
from waypost.node.api.errors import problems
from waypost.node.api.fields import Model

router = APIRouter(tags=["health"])


class Health(Model):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(Model):
    """The node follows its chain."""

    status: Literal["ready"] = "ready"
    head: int
    """Number of the newest block that the books cover."""


@router.get("/healthz", responses=problems())
async def live() -> Health:
    """Answers as long as the process does."""
    return Health()


@router.get("/readyz", responses=problems(503))
async def ready(node: NodeHere) -> Readiness:
    """Answers 503 node_not_ready while the chain is out of sight."""
    node.need_chain()
    return Readiness(head=node.sync.head)
